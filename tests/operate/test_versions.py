"""Going back to the versions before a deployment, on Lambda as moto has it, and as recorded where moto has nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operate.errors import CommandError
from operate.versions import Function, functions, go_back, plan, prune

DEPLOYED = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
OUTPUTS = {
    "ConnectFunctionName": "s-connect",
    "IngestFunctionName": "s-ingest",
    "UsersTableName": "users",
    "BusName": "b",
}


class FakeLambda:
    """Lambda's versions and aliases, in memory: version → (when, variables), alias → version."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[int, tuple[datetime, dict[str, str]]]] = {}
        self.aliases: dict[str, dict[str, Any]] = {}

    def publish(self, name: str, at: datetime, **variables: str) -> None:
        """Publish a version and lead the alias to it, as a deployment does."""
        known = self.versions.setdefault(name, {})
        number = max(known, default=0) + 1
        known[number] = (at, variables)
        self.aliases[name] = {"FunctionVersion": str(number)}

    def get_alias(self, *, FunctionName: str, Name: str) -> dict[str, Any]:  # noqa: N803
        assert Name == "live"
        return self.aliases[FunctionName]

    def update_alias(self, *, FunctionName: str, Name: str, **to: Any) -> None:  # noqa: N803
        assert int(to["FunctionVersion"]) in self.versions[FunctionName]
        self.aliases[FunctionName] = to

    def delete_function(self, *, FunctionName: str, Qualifier: str) -> None:  # noqa: N803
        assert self.aliases[FunctionName]["FunctionVersion"] != Qualifier
        del self.versions[FunctionName][int(Qualifier)]

    def get_paginator(self, operation: str) -> FakeLambda:
        assert operation == "list_versions_by_function"
        return self

    def paginate(self, *, FunctionName: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        yield {"Versions": [{"Version": "$LATEST", "LastModified": DEPLOYED.isoformat()}]}
        for number, (at, variables) in self.versions[FunctionName].items():
            one = {"Version": str(number), "LastModified": at.strftime("%Y-%m-%dT%H:%M:%S.000+0000")}
            yield {"Versions": [{**one, "Environment": {"Variables": variables}}]}

    def live(self) -> dict[str, str]:
        return {name: alias["FunctionVersion"] for name, alias in self.aliases.items()}


@pytest.fixture
def client() -> FakeLambda:
    """Return two functions that were deployed twice, the second time at DEPLOYED."""
    client = FakeLambda()
    for at in (DEPLOYED - timedelta(days=1), DEPLOYED + timedelta(seconds=40)):
        client.publish("s-connect", at, USERS_TABLE="users")
        client.publish("s-ingest", at, USERS_TABLE="users")
    return client


def read(client: FakeLambda) -> list[Function]:
    return list(functions(client, OUTPUTS))


def test_all_functions_go_back_to_the_version_before(client: FakeLambda) -> None:
    lines = list(go_back(client, plan(read(client), DEPLOYED, OUTPUTS)))
    assert lines == ["Connect: version 2 → 1", "Ingest: version 2 → 1"]
    assert client.live() == {"s-connect": "1", "s-ingest": "1"}


def test_the_traffic_of_a_canary_goes_back_wholly(client: FakeLambda) -> None:
    client.aliases["s-connect"]["RoutingConfig"] = {"AdditionalVersionWeights": {"1": 0.9}}
    list(go_back(client, plan(read(client), DEPLOYED, OUTPUTS)))
    assert client.aliases["s-connect"]["RoutingConfig"] == {"AdditionalVersionWeights": {}}


def test_a_function_that_the_last_deployment_did_not_change_stays(client: FakeLambda) -> None:
    later = DEPLOYED + timedelta(days=1)
    client.publish("s-ingest", later + timedelta(seconds=30), USERS_TABLE="users")
    (step,) = plan(read(client), later, OUTPUTS)
    assert str(step) == "Ingest: version 3 → 2"


def test_a_second_rollback_goes_no_further_back(client: FakeLambda) -> None:
    list(go_back(client, plan(read(client), DEPLOYED, OUTPUTS)))
    with pytest.raises(CommandError, match="nothing to take back"):
        plan(read(client), DEPLOYED, OUTPUTS)


def test_a_first_deployment_cannot_be_taken_back() -> None:
    client = FakeLambda()
    for name in ("s-connect", "s-ingest"):
        client.publish(name, DEPLOYED, USERS_TABLE="users")
    with pytest.raises(CommandError, match="Connect has no version before 1"):
        plan(read(client), DEPLOYED, OUTPUTS)


def test_nobody_goes_back_to_a_version_that_uses_what_is_gone(client: FakeLambda) -> None:
    with pytest.raises(CommandError, match="version 1 uses a USERS_TABLE that was replaced"):
        plan(read(client), DEPLOYED, {**OUTPUTS, "UsersTableName": "users-2"})
    assert client.live() == {"s-connect": "2", "s-ingest": "2"}


def test_only_the_live_version_and_the_one_before_are_kept(client: FakeLambda) -> None:
    client.publish("s-ingest", DEPLOYED + timedelta(days=1))
    client.publish("s-ingest", DEPLOYED + timedelta(days=2))
    lines = list(prune(client, read(client)))
    assert lines == ["Ingest: version 1 deleted", "Ingest: version 2 deleted"]
    assert {name: list(known) for name, known in client.versions.items()} == {"s-connect": [1, 2], "s-ingest": [3, 4]}


def test_after_a_rollback_the_newer_version_is_not_deleted(client: FakeLambda) -> None:
    list(go_back(client, plan(read(client), DEPLOYED, OUTPUTS)))
    assert list(prune(client, read(client))) == []
