"""The facts about a user that an operator sees, compared with the tables."""

from __future__ import annotations

from operate.inspection import Inspection, inspect
from realtime.tables.blocks import Blocks
from realtime.tables.entries import Entry
from realtime.tables.outbox import Outbox
from realtime.tables.transactions import Transaction
from realtime.tables.users import Users
from tests.integration.test_registry import NOW, register, registry
from tests.support.cloud import Cloud

TABLES = {"connections": "ConnectionsTable", "users": "UsersTable", "blocks": "BlocksTable", "events": "EventsTable"}


def inspected(cloud: Cloud, user_id: str = "123") -> Inspection:
    return inspect(cloud.dynamodb, user_id, **TABLES)


def shown(cloud: Cloud, user_id: str = "123") -> str:
    return "\n".join(inspected(cloud, user_id).lines(NOW // 1000 + 60))


def test_inspection_knows_nothing_of_a_user_who_never_connected(cloud: Cloud) -> None:
    assert shown(cloud, "9") == "Nothing is known of user 9."


def test_connections_are_shown_with_their_lease_and_the_end_of_their_token(cloud: Cloud) -> None:
    register(registry(cloud), "a=")

    assert "User 123: jane_smith, role listener" in shown(cloud)
    assert "presence     online, available" in shown(cloud)
    assert (
        "a= on feed: since 10:30:00Z (60 s ago), lease until 10:45:00Z (in 14 min), token until 11:30:00Z (in 59 min)"
        in shown(cloud)
    )


def test_a_connection_that_is_counted_but_not_registered_is_said_to_be_so(cloud: Cloud) -> None:
    register(registry(cloud), "a=")
    for row in cloud.rows("Connections"):
        key = {name: {"S": row[name]} for name in ("connection_id", "audience")}
        cloud.dynamodb.delete_item(TableName="ConnectionsTable", Key=key)

    assert "a=: counted, but not registered" in shown(cloud)


def test_inspection_names_the_reasons_why_a_user_is_busy(cloud: Cloud) -> None:
    users = Users(cloud.dynamodb, "UsersTable")
    for write in (users.call_write("123", "456", NOW, ongoing=True), users.busy_write("123", NOW, busy=True)):
        Transaction(cloud.dynamodb).add(write).commit("a test")

    assert "busy (call 456, by their own setting)" in shown(cloud)


def test_the_last_events_of_all_audiences_are_shown_newest_first(cloud: Cloud) -> None:
    register(registry(cloud), "a=")
    outbox = Outbox(cloud.dynamodb, "EventsTable")
    for age, audience in enumerate(["calls/123", "notifications/123", "calls/999"] * 8):
        event_id = f"{NOW - age * 1000:012x}ab"
        outbox.put(Entry(audience, event_id, "call_started", "{}", NOW // 1000 + 60))

    events = inspected(cloud).events

    assert [event.at for event in events] == sorted((event.at for event in events), reverse=True)
    assert len(events) == 10
    assert {event.audience for event in events} == {"calls/123", "notifications/123"}


def test_whom_a_user_has_blocked_is_shown_and_who_has_blocked_them(cloud: Cloud) -> None:
    blocks = Blocks(cloud.dynamodb, "BlocksTable")
    users = Users(cloud.dynamodb, "UsersTable")
    writes = [
        users.block_write("123", frozenset({"5"}), NOW, blocked=True),
        users.listed_block_write("123", frozenset({"7", "10"}), NOW, blocked=True),
        *blocks.list_writes("123", [str(number) for number in range(10, 40)], blocked=True),
        *blocks.writes("9", ["123", "nobody"], blocked=True),
    ]
    for write in writes:
        Transaction(cloud.dynamodb).add(write).commit("a test")

    first = ", ".join(str(number) for number in range(10, 29))
    assert f"has blocked  5, {first} and 11 others" in shown(cloud)
    assert "blocked by   9" in shown(cloud)
    assert shown(cloud, "nobody") == "Nothing is known of user nobody.\n  blocked by   9"
