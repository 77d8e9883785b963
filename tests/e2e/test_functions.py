"""Each function does all of its work with the rights of its own role and no others.

policies.py removes each right in turn, and expects the test here that it names to fail.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.stack import Stack, eventually
from listener_realtime.admin import Admin
from tests.e2e.roles import Role

CALL_TYPE = "audio"


def call(user: int, listener: int, call_id: int = 1) -> dict[str, object]:
    return {"call_id": call_id, "user_id": user, "listener_id": listener, "call_type": CALL_TYPE, "status": "ongoing"}


# ---- connect, disconnect --------------------------------------------------------------------------------------------


async def test_a_connection_is_registered_and_forgotten_with_its_end(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user):
        (connection_id,) = stack.connection_ids(user)
        assert set(stack.connection(connection_id)) == {f"connection/{connection_id}", f"calls/{user}"}
        assert stack.user(user)["is_online"] == {"BOOL": True}
    await eventually(lambda: not stack.is_connected(user), "the user has no connection left")
    await eventually(lambda: not stack.connection(connection_id), "nothing is left of the connection")


async def test_a_client_without_a_token_gets_an_error_and_is_closed(stack: Stack) -> None:
    async with stack.connect("feed") as client:
        refusal = await client.hears("error")
        assert refusal["data"]["code"] == "AUTH_FAILED"
        assert await client.closed() == 1000


async def test_a_farewell_to_a_connection_that_is_not_open_yet_is_tried_again(stack: Stack) -> None:
    connection_id = f"{stack.new_user():015d}="  # an unknown connection, whose handshake might not be done
    order = {"connection_id": connection_id, "endpoint": "feed", "frame": "{}", "is_opening": True, "tries": 0}
    before = tries(stack)
    stack.aws("sqs").send_message(QueueUrl=stack.outputs["FarewellsQueueUrl"], MessageBody=json.dumps(order))
    await eventually(lambda: tries(stack) >= before + 2, "it is looked for again")


def tries(stack: Stack) -> int:
    """How often a farewell found no connection."""
    return sum('"gone":' in line for line in stack.logs_of("farewell"))


async def test_a_connection_may_watch_a_hundred_users_from_its_start(stack: Stack) -> None:
    user = stack.new_user()
    watched = [stack.new_user() for _ in range(100)]
    async with stack.connect("presence", user, query={"watch": ",".join(map(str, watched))}):
        (connection_id,) = stack.connection_ids(user)
        assert {f"presence/{each}" for each in watched} <= stack.connection(connection_id).keys()


# ---- default --------------------------------------------------------------------------------------------------------


async def test_as_many_messages_at_once_as_allowed_are_answered(stack: Stack) -> None:
    async with stack.connect("calls", stack.new_user(), settled=False) as client:
        for _ in range(20):
            await client.send("ping")
        for _ in range(20):
            assert (await client.hears(lambda it: it["type"] in {"pong", "error"}))["type"] == "pong"


async def test_a_ping_is_answered(stack: Stack) -> None:
    async with stack.connect("notifications", stack.new_user(), settled=False) as client:
        assert (await client.pings())["data"] == {}


async def test_traffic_renews_a_lease_past_its_half_life(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        (connection_id,) = stack.connection_ids(user)
        stack.change_session(connection_id, lease_until=int(time.time()) + 1)
        await client.pings()
        renewed = int(stack.connection(connection_id)[f"connection/{connection_id}"]["lease_until"]["N"])
        assert renewed > time.time() + 1


async def test_a_connection_that_nobody_knows_is_sent_back(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        (connection_id,) = stack.connection_ids(user)
        for audience in stack.connection(connection_id):
            key = {"connection_id": {"S": connection_id}, "audience": {"S": audience}}
            stack.dynamodb.delete_item(TableName=stack.outputs["ConnectionsTableName"], Key=key)
        await client.send("ping")
        await client.hears("reconnect")
        assert await client.closed() == 1000


async def test_sync_is_answered_with_the_users_online(stack: Stack) -> None:
    listener = stack.new_user()
    async with (
        stack.connect("calls", listener, role="listener", username="jane"),
        stack.connect("feed", stack.new_user()) as client,
    ):
        await client.send("sync")
        snapshot = await client.hears("snapshot")
        assert listener in {shown["user_id"] for shown in snapshot["data"]["users"]}


async def test_watching_users_returns_their_state_until_unwatching(stack: Stack) -> None:
    watched, user = stack.new_user(), stack.new_user()
    async with stack.connect("calls", watched), stack.connect("presence", user) as client:
        await client.send("watch", user_ids=[watched])
        snapshot = await client.hears("snapshot")
        assert [shown["is_online"] for shown in snapshot["data"]["users"]] == [True]
        (connection_id,) = stack.connection_ids(user)
        own = {f"connection/{connection_id}", "watched"}
        assert set(stack.connection(connection_id)) == {*own, f"presence/{watched}"}
        await client.send("unwatch", user_ids=[watched])
        await client.hears("snapshot")
        assert set(stack.connection(connection_id)) == own


async def test_a_listener_sets_their_own_status_and_sees_it_counted_and_kept(stack: Stack) -> None:
    listener = stack.new_user()
    claims = {"role": "listener", "scope": "feed presence calls notifications status"}
    async with stack.connect("feed", stack.new_user()) as client, stack.connect("live", listener, **claims) as own:
        await own.send("status", status="away")
        assert (await own.hears("status_set"))["data"] == {"status": "away"}
        busy = await client.hears(lambda it: it["type"] == "listener_busy" and it["data"]["user_id"] == listener)
        assert busy["data"]["is_away"] is True
        await client.send("count")
        assert (await client.hears("occupancy"))["data"]["listeners_online"] >= 0
        stack.publish("favorite_added", {"user_id": 1, "username": "jane"}, to=[listener])
        heard = await own.hears("favorite_added")
        await own.send("history")
        page = (await own.hears("history_page"))["data"]
        assert heard["id"] in [each["id"] for each in page["messages"]]


@contextmanager
def many_online(stack: Stack) -> Iterator[set[str]]:
    """More online users than one frame can name."""
    users = {str(stack.new_user()) for _ in range(40)}
    online = {"is_online": {"BOOL": True}, "version": {"N": "1"}, "last_seen": {"N": str(int(time.time() * 1000))}}
    try:
        for user in users:
            item = {"user_id": {"S": user}, "username": {"S": "n" * 1000}, "online_shard": {"S": "0"}, **online}
            stack.dynamodb.put_item(TableName=stack.outputs["UsersTableName"], Item=item)
        yield users
    finally:
        for user in users:
            stack.dynamodb.delete_item(TableName=stack.outputs["UsersTableName"], Key={"user_id": {"S": user}})


async def test_a_snapshot_that_no_frame_can_hold_comes_in_pages(stack: Stack) -> None:
    with many_online(stack) as users:
        async with stack.connect("presence", stack.new_user()) as client:
            await client.send("sync")
            shown: set[str] = set()
            pages = 0
            complete = False
            while not complete:
                page = (await client.hears("snapshot"))["data"]
                shown |= {str(user["user_id"]) for user in page["users"]}
                complete, pages = page["complete"], pages + 1
    assert pages > 1
    assert users <= shown


# ---- ingest, broadcast ----------------------------------------------------------------------------------------------


async def test_a_call_reaches_both_participants_and_makes_them_busy(stack: Stack) -> None:
    user, listener = stack.new_user(), stack.new_user()
    async with stack.connect("calls", user) as one, stack.connect("calls", listener) as other:
        stack.publish("call_started", call(user, listener, user))
        assert (await one.hears("call_started"))["data"] == call(user, listener, user)
        assert (await other.hears("call_started"))["data"] == call(user, listener, user)
        assert stack.user(listener)["busy_calls"] == {"SS": [str(user)]}


async def test_the_end_of_a_users_sessions_ends_their_connections(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        stack.publish("session_revoked", {"user_id": user})
        assert (await client.hears("error"))["data"]["code"] == "AUTH_FAILED"
        assert await client.closed() == 1000


async def test_a_revoked_token_stays_out_and_a_newer_one_gets_in(stack: Stack) -> None:
    user = stack.new_user()
    old = stack.token(user)
    await asyncio.sleep(1.1)  # times of issue are whole seconds
    async with stack.connect("calls", token=old, settled=False) as client:
        await client.pings()
        stack.publish("session_revoked", {"user_id": user})
        assert (await client.hears("error"))["data"]["code"] == "AUTH_FAILED"
    async with stack.connect("calls", token=old, settled=False) as client:
        assert (await client.hears("error"))["data"]["code"] == "AUTH_FAILED"
        assert await client.closed() == 1000
    async with stack.connect("calls", user) as client:
        await client.pings()


async def test_an_event_that_breaks_its_schema_is_kept_whole_with_the_reason(stack: Stack) -> None:
    event_id = stack.deployment.publish("call_started", json.dumps({"call_id": 1}), "tests")
    event, attributes = await stack.queue("RejectedEventsQueue").holds(lambda body: event_id in body)
    assert json.loads(event)["detail"] == {"call_id": 1}
    assert "user_id" in attributes["reason"]


async def test_an_event_that_cannot_be_taken_in_comes_again_within_seconds(stack: Stack) -> None:
    user, role = stack.new_user(), Role(stack, "Ingest")
    async with stack.connect("calls", user) as client:
        with role.without(role.rights()["dynamodb:PutItem EventsTable"]):
            failures = len(failed(stack))
            stack.publish("call_ended", {"call_id": user, "user_id": user, "listener_id": stack.new_user()})
            await eventually(lambda: len(failed(stack)) > failures, "it cannot be taken in")
        await client.hears("call_ended")


def failed(stack: Stack) -> list[str]:
    """The messages that ingest has delayed."""
    return [line for line in stack.logs_of("ingest") if '"message":"failed"' in line]


async def test_an_event_for_everyone_reaches_every_connected_user(stack: Stack) -> None:
    text = f"for everyone {stack.new_user()}"
    async with stack.connect("notifications", stack.new_user()) as client:
        stack.publish("system_notification", {"text": text}, to="everyone")
        await client.hears(lambda it: it["data"].get("text") == text)


async def test_an_event_for_everyone_is_noted_as_served(stack: Stack) -> None:
    began = int(time.time())
    async with stack.connect("notifications", stack.new_user()):

        def is_noted() -> bool:  # an instance of the function notes it every 30 s
            stack.publish("system_notification", {"text": "for everyone"}, to="everyone")
            time.sleep(1)
            marks = stack.dynamodb.query(
                TableName=stack.outputs["EventsTableName"],
                KeyConditionExpression="audience = :served",
                ExpressionAttributeValues={":served": {"S": "served"}},
            )["Items"]
            return any(int(each["served_at"]["N"]) >= began for each in marks)

        await eventually(is_noted, "it is noted", within=45)


async def test_an_event_for_everyone_forgets_a_connection_that_is_gone(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.withheld_disconnects():
        async with stack.connect("notifications", user):
            (connection_id,) = stack.connection_ids(user)
        stack.age(connection_id, 60)
        stack.publish("system_notification", {"text": "for everyone"}, to="everyone")
        await eventually(lambda: not stack.is_connected(user), "the user has no connection left")
        await eventually(lambda: not stack.connection(connection_id), "nothing is left of the connection")


async def test_a_client_that_reads_no_event_for_everyone_is_closed(stack: Stack) -> None:
    async with stack.connect("notifications", stack.new_user()) as client:
        await stack.set_gateway(buffer_bytes=1)
        try:
            stack.publish("system_notification", {"text": "for everyone"}, to="everyone")
            assert await client.closed() == 1000
        finally:
            await stack.set_gateway(buffer_bytes=1_048_576)


async def test_an_unreadable_event_for_everyone_is_given_up(stack: Stack) -> None:
    event_id = f"{stack.new_user():028x}"
    key = {"audience": {"S": "notifications/*/0"}, "event_id": {"S": event_id}}
    poison = {**key, "reach": {"S": "wide"}, "message": {"S": "{}"}}  # of no type
    stack.dynamodb.put_item(TableName=stack.outputs["EventsTableName"], Item=poison)
    body, _ = await stack.queue("StreamFailuresQueue").holds(lambda body: event_id in body)
    assert json.loads(body)["keys"] == key


async def test_a_connection_that_is_gone_is_forgotten_when_it_is_posted_to(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.withheld_disconnects():
        async with stack.connect("notifications", user):
            (connection_id,) = stack.connection_ids(user)
        stack.age(connection_id, 60)
        stack.publish("favorite_added", {"user_id": 1, "username": "jane", "action": "added"}, to=[user])
        await eventually(lambda: not stack.is_connected(user), "the user has no connection left")
        await eventually(lambda: not stack.connection(connection_id), "nothing is left of the connection")


async def test_a_client_that_takes_nothing_in_is_closed_so_that_it_comes_again(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("notifications", user) as client:
        await stack.set_gateway(buffer_bytes=1)
        try:
            stack.publish("favorite_added", {"user_id": 1, "username": "jane", "action": "added"}, to=[user])
            assert await client.closed(within=30) == 1000
        finally:
            await stack.set_gateway(buffer_bytes=1_048_576)


# ---- announce, deadlines --------------------------------------------------------------------------------------------


async def test_a_listener_is_announced_on_the_feed_as_online_and_offline_after_the_grace_period(stack: Stack) -> None:
    listener = stack.new_user()
    async with stack.connect("feed", stack.new_user()) as client:
        async with stack.connect("calls", listener, role="listener"):
            await client.hears(lambda it: it["type"] == "listener_online" and it["data"]["user_id"] == listener)
        await client.hears(lambda it: it["type"] == "listener_offline" and it["data"]["user_id"] == listener)


async def test_the_bus_hears_of_a_user_who_came_online(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.bus_events() as queue, stack.connect("calls", user):
        body, _ = await queue.holds(lambda body: json.loads(body)["detail"]["user_id"] == user)
        told = json.loads(body)
        assert (told["source"], told["detail-type"]) == ("realtime", "user_online")


async def test_a_change_that_cannot_be_read_is_given_up_and_holds_up_no_other(stack: Stack) -> None:
    poison = f"poison-{stack.new_user()}"
    item = {"user_id": {"S": poison}, "is_online": {"BOOL": True}, "last_seen": {"S": "never"}}
    stack.dynamodb.put_item(TableName=stack.outputs["UsersTableName"], Item=item)
    user = stack.new_user()
    async with stack.connect("presence", stack.new_user()) as client, stack.connect("calls", user):
        await client.hears(lambda it: it["data"].get("user_id") == user)
        body, attributes = await stack.queue("StreamFailuresQueue").holds(lambda body: poison in body)
        assert json.loads(body)["keys"] == {"user_id": {"S": poison}}
        assert attributes["reason"]
    stack.dynamodb.delete_item(TableName=stack.outputs["UsersTableName"], Key={"user_id": {"S": poison}})


# ---- broadcast, with items in the Events table that our functions do not write ---------------------------------------


async def test_a_record_that_cannot_be_read_is_given_up_and_holds_up_no_other(stack: Stack) -> None:
    user = stack.new_user()
    key = {"audience": {"S": f"calls/{user}"}, "event_id": {"S": f"{user:028x}"}}
    poison = {**key, "reach": {"S": "narrow"}, "message": {"S": "{}"}}  # of no type
    async with stack.connect("calls", user) as client:
        stack.dynamodb.put_item(TableName=stack.outputs["EventsTableName"], Item=poison)
        stack.publish("call_ended", {"call_id": user, "user_id": user, "listener_id": stack.new_user()})
        await client.hears("call_ended")
        body, attributes = await stack.queue("StreamFailuresQueue").holds(lambda body: str(user) in body)
        assert json.loads(body)["keys"] == key
        assert "KeyError: 'kind'" in attributes["reason"]


# ---- admin ----------------------------------------------------------------------------------------------------------


async def test_a_backend_sees_who_is_connected_and_ends_their_connections(stack: Stack) -> None:
    admin = Admin.of_boto3(function=stack.outputs["AdminFunctionArn"], client=stack.aws("lambda"))
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        assert [each["is_online"] for each in await asyncio.to_thread(admin.who, [user])] == [True]
        (shown,) = await asyncio.to_thread(admin.connections, user)
        assert [shown["connection_id"]] == stack.connection_ids(user)
        counts = await asyncio.to_thread(admin.counts)
        assert counts["users_online"] >= 1
        assert counts["connections"]["calls"] >= 1
        assert await asyncio.to_thread(lambda: admin.disconnect(user, reason="Goodbye", revoke=True))
        assert (await client.hears("error"))["data"] == {"code": "AUTH_FAILED", "message": "Goodbye"}
        assert await client.closed() == 1000


# ---- sweep ----------------------------------------------------------------------------------------------------------


async def test_a_ghost_is_forgotten_and_a_silent_connection_is_spared(stack: Stack) -> None:
    ghost, silent = stack.new_user(), stack.new_user()
    async with stack.withheld_disconnects(), stack.connect("calls", silent) as client:
        async with stack.connect("calls", ghost):
            suspects = stack.connection_ids(ghost) + stack.connection_ids(silent)
        for connection_id in suspects:
            stack.age(connection_id, 60)
            stack.change_session(connection_id, lease_until=1)
        await stack.sweep()
        assert not stack.is_connected(ghost)
        assert not stack.connection(suspects[0])
        spared = stack.connection(suspects[1])[f"connection/{suspects[1]}"]
        assert int(spared["lease_until"]["N"]) > time.time()
        await client.pings()


async def test_a_connection_that_has_outlived_two_hours_is_asked_to_come_again(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        (connection_id,) = stack.connection_ids(user)
        stack.age(connection_id, 3 * 3600)
        stack.change_session(connection_id, lease_until=1)
        await stack.sweep()
        await client.hears("reconnect")
        assert await client.closed() == 1000


async def test_a_call_whose_end_never_comes_is_ended(stack: Stack) -> None:
    user, listener = stack.new_user(), stack.new_user()
    async with stack.connect("calls", user) as client:
        stack.publish("call_started", call(user, listener, user))
        await client.hears("call_started")
        stack.dynamodb.update_item(
            TableName=stack.outputs["EventsTableName"],
            Key={"audience": {"S": f"call/{user}"}, "event_id": {"S": "-"}},
            UpdateExpression="SET started_at = :long_ago",
            ExpressionAttributeValues={":long_ago": {"N": "1"}},
        )
        await stack.sweep()
        assert "busy_calls" not in stack.user(listener)
