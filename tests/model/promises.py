"""The promises that must hold after all work is done, whatever happened before."""

from __future__ import annotations

from itertools import pairwise

from realtime.tables.dynamodb import plain
from realtime.tables.events import stragglers_key
from tests.model.client import Client
from tests.model.gateway import Socket
from tests.model.service import CALL_LEASE, CONNECTIONS, EVENTS, USERS, SimulatedService

ONLINE_TYPES = {
    "feed": frozenset({"listener_online", "listener_offline"}),
    "presence": frozenset({"presence_update"}),
    "live": frozenset({"listener_online", "listener_offline", "presence_update"}),
}


def check_all(service: SimulatedService) -> None:
    """Compare the tables, the bus and every client's view with the real state."""
    check_users(service)
    check_connections(service)
    check_bus(service)
    check_stragglers(service)
    for socket in service.open_sockets():
        if socket.is_registered and socket.endpoint in ONLINE_TYPES:
            check_view(service, socket)


def check_users(service: SimulatedService) -> None:
    """Compare each user's stored state with the open sockets and the events of the backends."""
    now = service.clock.now
    for call_id, call in service.truth.calls.items():
        if call.is_ongoing:
            assert call.started_at is not None
            assert now - call.started_at <= CALL_LEASE + 1000, f"call {call_id} was never let go"
    for item in service.tables.all(USERS):
        user, values = service.user(item["user_id"]["S"]), plain(item)
        assert user is not None
        present = service.present(user.user_id)
        assert user.connection_ids == present, f"{user} has {present}"
        assert user.is_online == bool(present), f"{user} has {present}"
        assert values.get("busy_calls", frozenset()) == service.truth.calls_of(user.user_id)
        assert values.get("is_busy_manual", False) == service.truth.busy_by_hand.get(user.user_id, False)
        assert service.hidden_from(user.user_id) == service.truth.hidden_from[user.user_id]
        assert service.noted_blocks(user.user_id) == service.truth.hidden_from[user.user_id]
    for socket in service.open_sockets():
        if socket.is_registered:
            revoked_before = service.truth.revoked_before.get(socket.user_id, 0)
            assert socket.issued_at >= revoked_before, f"{socket} lasts, its token was revoked at {revoked_before}"
    absent = {socket.user_id for socket in service.open_sockets() if socket.counts}
    assert absent <= {item["user_id"]["S"] for item in service.tables.all(USERS)}


def check_connections(service: SimulatedService) -> None:
    """Compare the stored sessions with the open sockets."""
    stored = {row["connection_id"] for row in map(plain, service.tables.all(CONNECTIONS)) if "lease_until" in row}
    assert stored == {socket.connection_id for socket in service.open_sockets() if socket.is_registered}


def check_stragglers(service: SimulatedService) -> None:
    """See that nobody who is connected is still behind: each straggler was healed or closed."""
    item = service.tables.get(EVENTS, stragglers_key())
    behind = plain(item) if item else {}
    ids = {mark.partition(" ")[0] for mark in behind.get("late", ())} | set(behind.get("skipped", ()))
    assert not ids & {socket.connection_id for socket in service.open_sockets()}, behind
    assert not service.late_messages


def check_bus(service: SimulatedService) -> None:
    """Read the bus as a backend does: without duplicates, online and offline alternate, and versions rise."""
    heard: dict[str, dict[str, dict[str, object]]] = {}
    for event in service.told:
        known = heard.setdefault(str(event["user_id"]), {}).setdefault(event["id"], event)
        assert known == event, "two events with one id"
    for user_id, by_id in heard.items():
        events = list(by_id.values())
        kinds = [event["type"] for event in events]
        versions = [event["version"] for event in events]
        assert kinds[0] == "user_online"
        assert all(one != next_one for one, next_one in pairwise(kinds)), f"the bus was told of {user_id}: {kinds}"
        assert all(one < next_one for one, next_one in pairwise(versions)), f"versions of {user_id}: {versions}"  # type: ignore[operator]
    for item in service.tables.all(USERS):
        user = service.user(item["user_id"]["S"])
        assert user is not None
        last = list(heard.get(user.user_id, {"": {"type": "user_offline"}}).values())[-1]
        assert last["type"] == ("user_online" if user.is_online else "user_offline")


def check_view(service: SimulatedService, socket: Socket) -> None:
    """Compare the view of a client with the real state, except for users who hid from its user."""
    client = socket.client
    everyone = [item["user_id"]["S"] for item in service.tables.all(USERS)]
    rely_on = everyone if client.is_wide else sorted(client.scope or ())
    for user_id in rely_on:
        check_seen(service, socket, client, user_id)


def check_seen(service: SimulatedService, socket: Socket, client: Client, user_id: str) -> None:
    user = service.user(user_id)
    seen = client.view.get(user_id)
    if user is not None and socket.user_id in service.hidden_from(user_id):
        return
    is_told = user is not None and (socket.endpoint != "feed" or user.role == "listener")
    is_online = is_told and user is not None and user.is_online
    described = f"{socket.user_id} on {socket.endpoint} ({socket.connection_id}) sees {user_id} as {seen}; it is {user}"
    if seen is None:
        assert not is_online, described
        return
    if not client.types or client.types >= ONLINE_TYPES[socket.endpoint]:
        assert seen.is_online == is_online, described
    if not client.types and is_told and user is not None:
        assert seen.is_busy == user.is_busy, described
