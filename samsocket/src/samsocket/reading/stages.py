"""The stages of an API: their variables, and the limits of their routes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from samsocket.api import Throttle
from samsocket.errors import UnresolvedError
from samsocket.reading.values import is_true, number

if TYPE_CHECKING:
    from samsocket.reading.values import Values
    from samsocket.template import Resource


def raw_stages(values: Values) -> tuple[dict[str, Mapping[str, str]], list[tuple[str, Mapping[str, Any]]]]:
    """Return the deployed stages with their variables, and the properties of each."""
    stages: dict[str, Mapping[str, str]] = {}
    throttled = []
    for stage in values.deployed("Stage"):
        name = str(values.known(stage, "StageName", ""))
        if not name:
            continue
        if not _is_deployed(values, stage):
            values.note(stage, "neither DeploymentId nor AutoDeploy; nothing is deployed to it, so it answers 403")
            continue
        stages[name] = variables(values, stage, stage.properties)
        throttled.append((name, stage.properties))
    return stages, throttled


def _is_deployed(values: Values, stage: Resource) -> bool:
    try:
        if values.resolve(stage.properties.get("DeploymentId")) is not None:
            return True
    except UnresolvedError:  # it names one, which the emulator may not know
        return True
    return is_true(values.known(stage, "AutoDeploy"))


def variables(values: Values, resource: Resource, properties: Mapping[str, Any]) -> dict[str, str]:
    """Return the stage variables that can be worked out."""
    found = {}
    for name, value in (properties.get("StageVariables") or {}).items():
        known = values.attempt(resource, partial(values.resolve, value), None)
        if known is not None:
            found[str(name)] = str(known)
    return found


def throttle_of(values: Values, stage: Mapping[str, Any], route_key: str) -> Throttle | None:
    """Return a stage's limit of one of its routes, if it sets both the rate and the burst."""

    def read() -> Throttle | None:
        settings = dict(values.resolve(stage.get("DefaultRouteSettings")) or {})
        settings |= (values.resolve(stage.get("RouteSettings")) or {}).get(route_key, {})
        return throttle(settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit"))

    return values.attempt(values.api, read, None)


def throttle(rate: Any, burst: Any) -> Throttle | None:
    """Return a limit, if both of its parts are set."""
    return None if rate is None or burst is None else Throttle(rate=number(rate), burst=number(burst))
