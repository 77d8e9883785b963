"""The published versions of a stack's functions: go back to those before the last deployment, and delete older ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from operate.errors import CommandError

ALIAS: Final = "live"
KEPT: Final = 2
"""How many versions of a function stay: the live one and the one before."""

RESOURCES: Final = {
    "CONNECTIONS_TABLE": "ConnectionsTableName",
    "USERS_TABLE": "UsersTableName",
    "BLOCKS_TABLE": "BlocksTableName",
    "EVENTS_TABLE": "EventsTableName",
    "EVENT_BUS": "BusName",
    "BACKEND_EVENTS_QUEUE_URL": "BackendEventsQueueUrl",
    "REJECTED_QUEUE_URL": "RejectedEventsQueueUrl",
    "DEADLINES_QUEUE_URL": "DeadlinesQueueUrl",
    "FAILURES_QUEUE_URL": "StreamFailuresQueueUrl",
    "FAREWELLS_QUEUE_URL": "FarewellsQueueUrl",
    "LATE_QUEUE_URL": "LateQueueUrl",
}
"""The outputs with what variables of functions name, and a stack may have replaced since.

A version that was told of another one cannot work any more.
"""


@dataclass(frozen=True)
class Published:
    """One published version of a function. `made_at` is when the function was last changed before it was published."""

    number: int
    made_at: datetime
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Function:
    """A function with its versions, oldest first. `live` is the version that the alias leads to."""

    short: str
    name: str
    live: int
    weights: Mapping[str, float]
    versions: tuple[Published, ...]

    def before(self) -> Published | None:
        """Return the version before the live one."""
        return max(
            (each for each in self.versions if each.number < self.live), key=lambda each: each.number, default=None
        )


@dataclass(frozen=True)
class Step:
    """One alias that is led to another version."""

    function: Function
    to: Published

    def __str__(self) -> str:
        return f"{self.function.short}: version {self.function.live} → {self.to.number}"


def functions(client: Any, outputs: Mapping[str, str]) -> Iterator[Function]:
    """Read the versions of all functions that a stack's outputs name; `client` is one of Lambda."""
    for output, name in sorted(outputs.items()):
        if not output.endswith("FunctionName"):
            continue
        alias = client.get_alias(FunctionName=name, Name=ALIAS)
        pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
        found = [
            Published(
                int(each["Version"]),
                datetime.fromisoformat(each["LastModified"]),
                each.get("Environment", {}).get("Variables", {}),
            )
            for page in pages
            for each in page["Versions"]
            if each["Version"] != "$LATEST"
        ]
        weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
        versions = tuple(sorted(found, key=lambda each: each.number))
        yield Function(output.removesuffix("FunctionName"), name, int(alias["FunctionVersion"]), weights, versions)


def plan(found: list[Function], deployed_at: datetime, outputs: Mapping[str, str]) -> list[Step]:
    """Return the steps back to what was live before the last deployment, which began at `deployed_at`.

    A function that it did not change stays as it is.

    Raises:
        CommandError: there is nothing to go back to, or what an old version names is not there any more.
    """
    steps = []
    for function in found:
        live = next((each for each in function.versions if each.number == function.live), None)
        if live is None or live.made_at < deployed_at.astimezone(UTC).replace(microsecond=0):
            continue
        before = function.before()
        if before is None:
            raise CommandError(
                f"{function.short} has no version before {function.live}: it was deleted, or this is the first "
                "deployment. Deploy the old commit with: make deploy"
            )
        gone = [
            variable
            for variable, output in RESOURCES.items()
            if variable in before.variables and output in outputs and before.variables[variable] != outputs[output]
        ]
        if gone:
            raise CommandError(
                f"{function.short}: version {before.number} uses a {', '.join(gone)} that was replaced since. "
                "Deploy the old commit with: make deploy"
            )
        steps.append(Step(function, before))
    if not steps:
        raise CommandError("No function runs a version of the last deployment: there is nothing to take back.")
    return steps


def go_back(client: Any, steps: list[Step]) -> Iterator[str]:
    """Lead each alias to the version before, wholly; return a line for each."""
    for step in steps:
        client.update_alias(
            FunctionName=step.function.name,
            Name=ALIAS,
            FunctionVersion=str(step.to.number),
            RoutingConfig={"AdditionalVersionWeights": {}},
        )
        yield str(step)


def prune(client: Any, found: list[Function]) -> Iterator[str]:
    """Delete the versions that nobody goes back to any more: all but the live one and the one before."""
    for function in found:
        used = {function.live, *map(int, function.weights)}
        before = function.before()
        for each in function.versions:
            if each.number < function.live and each.number not in used and (before is None or each != before):
                client.delete_function(FunctionName=function.name, Qualifier=str(each.number))
                yield f"{function.short}: version {each.number} deleted"
