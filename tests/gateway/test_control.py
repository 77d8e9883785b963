"""The gateway's own endpoint, with which tests cause events that are rare on AWS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter


async def test_health_names_the_api_its_stages_and_the_number_of_connections(gateway: RunningGateway) -> None:
    await gateway.connect()
    answer = await gateway.control("GET", "health")
    api = {"api_id": "realtime", "stages": ["calls", "feed"]}
    assert answer.json() == {"state": "ready", **api, "connections": 1, "apis": [{**api, "name": ""}]}


async def test_connections_are_listed(gateway: RunningGateway, aws: FakeAws) -> None:
    first, second = await gateway.connect("/ws/feed"), await gateway.connect("/ws/calls")
    rows = await gateway.connections()
    assert [(row["connection_id"], row["stage"]) for row in rows] == [
        (first.connection_id, "feed"),
        (second.connection_id, "calls"),
    ]
    assert rows[0]["connected_at"] == (await aws.event("CONNECT"))["requestContext"]["connectedAt"]
    assert rows[0]["last_active_at"] >= rows[0]["connected_at"]
    assert rows[0]["source_ip"] == "127.0.0.1"


async def test_a_killed_connections_client_gets_no_close_frame(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    assert (await gateway.control("POST", f"connections/{client.connection_id}/kill")).status == 204
    assert await client.closed() == (1006, "")
    assert (await aws.event("DISCONNECT"))["requestContext"]["disconnectStatusCode"] == 1006


async def test_killing_an_unknown_connection_is_a_404(gateway: RunningGateway) -> None:
    assert (await gateway.control("POST", "connections/nobody/kill")).status == 404


async def test_a_withheld_disconnect_does_not_invoke_the_function(start: Starter, aws: FakeAws) -> None:
    gateway = await start(settings={"withhold_disconnect": True})
    ghost, other = await gateway.connect(), await gateway.connect()
    await ghost.close()

    async def gone() -> bool:
        return len(await gateway.connections()) == 1

    await gateway.until(gone)
    await gateway.control("PATCH", "settings", json={"withhold_disconnect": False})
    await other.close()
    assert (await aws.event("DISCONNECT"))["requestContext"]["connectionId"] == other.connection_id


async def test_a_withheld_route_response_leaves_the_client_without_an_answer(
    start: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "samsocket.access")
    gateway = await start(settings={"withhold_route_response": True})
    client = await gateway.connect()
    await client.send("first")

    async def answered() -> bool:
        await asyncio.sleep(0)
        return any("$default 200" in record.getMessage() for record in caplog.records)

    await gateway.until(answered)
    await gateway.control("PATCH", "settings", json={"withhold_route_response": False})
    await client.send("second")
    assert await client.receive() == "echo second"


async def test_settings_are_shown_and_changed_while_it_runs(gateway: RunningGateway) -> None:
    client = await gateway.connect()
    shown = (await gateway.control("GET", "settings")).json()
    assert shown["idle_timeout"] == 600
    changed = await gateway.control("PATCH", "settings", json={"idle_timeout": 0.05, "requests_burst": 1})
    assert changed.json() == {**shown, "idle_timeout": 0.05, "requests_burst": 1}
    assert (await client.closed())[0] == 1001


@pytest.mark.parametrize("body", ["{", "[]", '{"colour": 1}', '{"max_age": 0}', '{"max_age": "1"}'])
async def test_a_change_that_is_not_allowed_is_a_400_and_changes_nothing(gateway: RunningGateway, body: str) -> None:
    before = (await gateway.control("GET", "settings")).json()
    answer = await gateway.control("PATCH", "settings", data=body)
    assert answer.status == 400
    assert answer.json()["message"]
    assert (await gateway.control("GET", "settings")).json() == before


@pytest.mark.parametrize(("method", "path"), [("GET", "nothing"), ("POST", "health"), ("DELETE", "connections")])
async def test_anything_else_is_a_404(gateway: RunningGateway, method: str, path: str) -> None:
    assert (await gateway.control(method, path)).status == 404
