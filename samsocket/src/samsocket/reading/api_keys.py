"""The API keys that a template's usage plans let into the stages of an API."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from samsocket.api import ApiKey, Throttle
from samsocket.reading.stages import throttle
from samsocket.reading.values import is_true

if TYPE_CHECKING:
    from samsocket.reading.values import Values
    from samsocket.template import Resource


def api_keys(values: Values) -> dict[str, ApiKey]:
    """Return the API keys, by value."""
    plans: dict[str, tuple[frozenset[str], Throttle | None]] = {}
    for plan in values.template.of_type("AWS::ApiGateway::UsagePlan"):
        stages = values.attempt(plan, partial(_stages_of, values, plan), frozenset[str]())
        limit = values.known(plan, "Throttle", {})
        plans[values.resolver.reference(plan.logical_id)] = (
            stages,
            throttle(limit.get("RateLimit"), limit.get("BurstLimit")),
        )
        if "Quota" in plan.properties:
            values.note(plan, "its Quota is not counted")
    keys = {}
    for link in values.template.of_type("AWS::ApiGateway::UsagePlanKey"):
        key_id = str(values.known(link, "KeyId", ""))
        plan_id = str(values.known(link, "UsagePlanId", ""))
        value = _key_value(values, key_id)
        if value is not None and plan_id in plans:
            stages, limited = plans[plan_id]
            keys[value] = ApiKey(key_id=key_id, stages=stages, throttle=limited)
    return keys


def _stages_of(values: Values, plan: Resource) -> frozenset[str]:
    return frozenset(
        str(stage.get("Stage")) for stage in values.get(plan, "ApiStages", []) if stage.get("ApiId") == values.api_id
    )


def _key_value(values: Values, key_id: str) -> str | None:
    """Return the value of an enabled key: the template's, or else the one that the emulator made."""
    for resource in values.template.of_type("AWS::ApiGateway::ApiKey"):
        if values.resolver.reference(resource.logical_id) == key_id:
            if not is_true(values.known(resource, "Enabled", default=True)):
                return None
            value = values.known(resource, "Value")
            return str(value) if value else values.stack.key_values.get(key_id)
    return None
