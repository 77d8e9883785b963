"""Reads that must be consistent: each of these histories happens while all other reads show what was before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.model.gateway import Socket
from tests.model.service import CONNECTIONS, EVENTS, SimulatedService

CALL = {"call_id": "456", "user_id": "1", "listener_id": "2", "call_type": "audio", "status": "ongoing"}


@pytest.fixture
def frozen(service: SimulatedService) -> Iterator[SimulatedService]:
    """Return a service whose reads lag behind from now on."""
    service.freeze_reads()
    yield service
    service.tables.thaw_reads()


def stored(service: SimulatedService, table: str) -> set[str]:
    return {item["audience"]["S"] for item in service.tables.all(table)}


def ring(service: SimulatedService) -> str:
    """Publish a call that both participants must acknowledge; return its id."""
    service.publish("call_started", {**CALL, "delivery": {"ack_within": 5}})
    events = {
        item["event_id"]["S"] for item in service.tables.all(EVENTS) if item["audience"]["S"].startswith("calls/")
    }
    (event_id,) = events
    return str(event_id)


def ask(service: SimulatedService, socket: Socket, kind: str, **data: Any) -> dict[str, Any]:
    """Send a frame; return the last frame of its answer."""
    event = {
        "requestContext": service._context(socket),
        "body": json.dumps({"type": kind, "data": data}),
    }
    answer: dict[str, Any] = json.loads(service.runtime.invoke("default", event)["body"])
    return answer


def undelivered(service: SimulatedService) -> list[tuple[int, str]]:
    """Return of whom, and why, the bus was told that a message was not acknowledged."""
    return [(each["user_id"], each["reason"]) for each in service.told if "reason" in each]


def test_a_revocation_reaches_a_connection_of_this_very_moment(frozen: SimulatedService) -> None:
    socket = frozen.connect("1", "feed")
    frozen.publish("session_revoked", {"user_id": "1"})
    assert f"connection/{socket.connection_id}" in stored(frozen, EVENTS)


def test_the_first_frame_of_a_connection_is_answered(frozen: SimulatedService) -> None:
    assert ask(frozen, frozen.connect("1", "feed"), "ping")["type"] == "pong"


def test_a_connection_that_ends_at_once_leaves_no_items(frozen: SimulatedService) -> None:
    socket = frozen.connect("1", "feed", watch=["2", "3"])
    frozen.close(socket)
    frozen.disconnect(socket)
    assert stored(frozen, CONNECTIONS) == set()


def test_an_acknowledged_message_is_not_reported(service: SimulatedService) -> None:
    socket = service.connect("1", "calls")
    event_id = ring(service)
    service.freeze_reads()
    ask(service, socket, "ack", id=event_id)
    service.pass_time(6)
    service.check(service.due_checks())
    assert undelivered(service) == [(2, "not_connected")]


def test_a_message_is_reported_however_soon_its_check_comes(frozen: SimulatedService) -> None:
    ring(frozen)
    frozen.check(frozen.due_checks())
    assert undelivered(frozen) == [(1, "not_connected"), (2, "not_connected")]


def test_a_resume_replays_the_event_of_this_very_moment(service: SimulatedService) -> None:
    socket = service.connect("1", "calls")
    service.freeze_reads()
    ring(service)
    resumed = ask(service, socket, "resume", last_id="0" * 28)
    assert resumed["data"]["replayed"] == 1


def test_a_snapshot_of_watched_users_shows_this_very_moment(frozen: SimulatedService) -> None:
    frozen.connect("2", "presence")
    frozen.tables.thaw_reads()
    watcher = frozen.connect("1", "presence", watch=["2"])
    frozen.freeze_reads()
    frozen.publish("status_change", {"user_id": "2", "is_busy": True})
    frozen.send(watcher, "sync")
    (user,) = watcher.client.received[-1]["data"]["users"]
    assert user["is_busy"] is True
