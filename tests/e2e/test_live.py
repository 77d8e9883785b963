"""One socket for all endpoints: /ws/live hears what four sockets hear."""

from __future__ import annotations

from typing import Any

import pytest

from harness.stack import Client, Message, Stack


def call(user: int, listener: int, **more: Any) -> dict[str, Any]:
    return {"call_id": user, "user_id": user, "listener_id": listener, "call_type": "audio", "status": "ongoing"} | more


async def hears_of(client: Client, kind: str, user: int) -> Message:
    return await client.hears(lambda it: it["type"] == kind and it["data"].get("user_id") == user)


def titles(client: Client) -> list[str]:
    return [each["data"]["title"] for each in client.heard if each["type"] == "system_notification"]


async def test_one_socket_hears_what_four_sockets_hear(stack: Stack) -> None:
    user, listener = stack.new_user(), stack.new_user()
    async with stack.connect("live", user) as client:
        assert len(stack.connection_ids(user)) == 1
        async with stack.connect("live", listener, role="listener", username="jane") as other:
            await hears_of(client, "listener_online", listener)
            await hears_of(client, "presence_update", listener)
            stack.publish("call_started", call(user, listener))
            for each in (client, other):
                assert (await each.hears("call_started"))["data"]["call_id"] == user
            await hears_of(client, "listener_busy", listener)
            await hears_of(client, "status_change", listener)
            stack.publish("favorite_added", {"user_id": listener, "username": "jane"}, to=[user])
            await hears_of(client, "favorite_added", listener)
            stack.publish("system_notification", {"title": f"to all {user}"}, to="everyone")
            for each in (client, other):
                await each.hears(lambda it: it["data"].get("title") == f"to all {user}")
            shown = await client.snapshot()
            assert shown[listener]["is_busy"] is True
        await hears_of(client, "listener_offline", listener)
        ids = [each["id"] for each in client.heard if "id" in each]
        assert len(ids) == len(set(ids))


async def test_the_scope_and_the_parameter_choose_what_one_socket_hears(stack: Stack) -> None:
    user, listener = stack.new_user(), stack.new_user()
    calls_alone = {"endpoints": "calls"}
    async with (
        stack.connect("live", user, query=calls_alone) as chosen,
        stack.connect("live", user, scope="calls notifications") as scoped,
        stack.connect("live", listener, role="listener"),
    ):
        stack.publish("favorite_added", {"user_id": listener, "username": "jane"}, to=[user])
        stack.publish("system_notification", {"title": f"to all {user}"}, to="everyone")
        await scoped.hears("favorite_added")
        await scoped.hears(lambda it: it["data"].get("title") == f"to all {user}")
        stack.publish("call_started", call(user, listener))
        await stack.quiet()
        for each in (chosen, scoped):
            await each.hears("call_started")
        assert {each["type"] for each in chosen.heard} == {"pong", "call_started"}
        assert {each["type"] for each in scoped.heard} >= {"favorite_added", "system_notification", "call_started"}
        assert not {"listener_online", "presence_update"} & {each["type"] for each in scoped.heard}
        await scoped.send("sync")
        assert (await scoped.hears("error"))["data"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("scope", "endpoints", "code"),
    [("calls", "calls,feed", "PERMISSION_DENIED"), ("none", "", "PERMISSION_DENIED"), (None, "chat", "BAD_REQUEST")],
)
async def test_an_endpoint_that_is_not_allowed_or_unknown_is_refused(
    stack: Stack, scope: str | None, endpoints: str, code: str
) -> None:
    claims = {"scope": scope} if scope else {}
    token = stack.token(stack.new_user(), **claims)
    async with stack.connect("live", token=token, query={"endpoints": endpoints}) as client:
        assert (await client.hears("error"))["data"]["code"] == code
        await client.closed()


@pytest.mark.parametrize("at", ["handshake", "frame"])
async def test_one_socket_watches_on_feed_and_presence_together(stack: Stack, at: str) -> None:
    user, listener, stranger = (stack.new_user() for _ in range(3))
    query = {"watch": str(listener)} if at == "handshake" else {}
    async with stack.connect("live", user, query=query) as client:
        if at == "frame":
            shown = await client.snapshot("watch", user_ids=[listener])
            assert set(shown) == {listener}
        async with stack.connect("calls", stranger, role="listener"), stack.connect("calls", listener, role="listener"):
            await hears_of(client, "listener_online", listener)
            await hears_of(client, "presence_update", listener)
            assert set(await client.snapshot()) == {listener}
            stack.publish("system_notification", {"title": f"to all {user}"}, to="everyone")
            await client.hears(lambda it: it["data"].get("title") == f"to all {user}")
            stack.publish("favorite_added", {"user_id": listener, "username": "jane"}, to=[user])
            await client.hears("favorite_added")
            await client.snapshot("unwatch", user_ids=[listener])
        await stack.quiet()
        about = {each["data"].get("user_id") for each in client.heard if each["type"] == "presence_update"}
        assert listener in about
        assert stranger not in about


async def test_a_client_that_changes_from_four_sockets_to_one_keeps_its_positions(stack: Stack) -> None:
    user, listener = stack.new_user(), stack.new_user()
    positions: dict[str, str] = {}
    async with (
        stack.connect("calls", user) as calls,
        stack.connect("notifications", user) as notifications,
        stack.connect("presence", user) as presence,
    ):
        stack.publish("call_started", call(user, listener))
        stack.publish("favorite_added", {"user_id": listener, "username": "jane"}, to=[user])
        stack.publish("system_notification", {"title": "heard"}, to="everyone")
        await calls.hears("call_started")
        await notifications.hears("favorite_added")
        await notifications.hears(lambda it: it["data"].get("title") == "heard")
        await stack.quiet()
        for client in (calls, notifications, presence):
            await client.pings()
            for message in client.heard:
                given = message.get("position", {})
                since = min(filter(None, (positions.get("since"), given.get("since"))), default=None)
                positions |= given | ({"since": since} if since else {})
    async with stack.connect("live", listener) as witness:
        stack.publish("call_ended", call(user, listener, status="ended"))
        stack.publish("favorite_removed", {"user_id": listener, "username": "jane"}, to=[user, listener])
        stack.publish("system_notification", {"title": "missed"}, to="everyone")
        await witness.hears("call_ended")
        await witness.hears("favorite_removed")
        await witness.hears(lambda it: it["data"].get("title") == "missed")
    async with stack.connect("live", user) as client:
        await client.send("resume", position=positions)
        resumed = await client.hears("resumed")
        assert resumed["data"]["recovered"] is True
        kinds = [each["type"] for each in client.heard if "id" in each]
        for kind in ("call_ended", "favorite_removed"):
            assert kinds.count(kind) == 1
        for kind in ("call_started", "favorite_added"):
            assert kind not in kinds
        assert "missed" in titles(client)
        assert "heard" not in titles(client)
        assert "presence_update" in kinds
