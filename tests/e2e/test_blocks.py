"""Blocks that have no room in the user's own item hide a user as few do: live, in snapshots and in history."""

from __future__ import annotations

from harness.stack import Client, Predicate, Stack, eventually

FILLING = 21  # blocks, one more than have room


def about(user: int, *kinds: str) -> Predicate:
    return lambda message: message["type"] in kinds and message["data"].get("user_id") == user


def told_of(user: int, client: Client) -> set[str]:
    return {message["type"] for message in client.heard if message["data"].get("user_id") == user}


def listed_blocks(stack: Stack, user: int) -> int:
    return int(stack.user(user).get("listed_blocks", {"N": "0"})["N"])


async def change_blocks(stack: Stack, kind: str, blocker: int, *others: int) -> None:
    """Let a user block or unblock others, together with so many that they have to be listed."""
    before = listed_blocks(stack, blocker)
    fillers = [stack.new_user() for _ in range(FILLING)] if kind == "user_blocked" else []
    stack.publish(kind, {"user_id": blocker, "username": "jane_smith"}, to=[*others, *fillers])
    await eventually(lambda: listed_blocks(stack, blocker) > before, f"{kind} is recorded")


async def test_a_user_with_many_blocks_is_hidden_from_all_of_them_and_from_nobody_else(stack: Stack) -> None:
    blocker, blocked, stranger, witness = (stack.new_user() for _ in range(4))
    await change_blocks(stack, "user_blocked", blocker, blocked)
    async with (
        stack.connect("feed", blocked) as feed,
        stack.connect("presence", blocked) as presence,
        stack.connect("presence", blocked, query={"watch": f"{blocker},{witness}"}) as watcher,
        stack.connect("feed", stranger) as other_feed,
        stack.connect("presence", stranger, query={"watch": f"{blocker}"}) as other_watcher,
        stack.connect("presence", stack.new_user(), query={"watch": f"{blocker}"}) as third_watcher,
        stack.connect("calls", blocker, role="listener"),
        stack.connect("calls", witness, role="listener"),
    ):
        await other_feed.hears(about(blocker, "listener_online"))
        for client in (other_watcher, third_watcher):
            await client.hears(about(blocker, "presence_update"))
        for client in (feed, presence, watcher):
            await client.hears(lambda message: message["data"].get("user_id") == witness)
            assert not told_of(blocker, client)
        for client in (feed, presence):
            assert blocker not in await client.snapshot()
        assert set(await watcher.snapshot()) == {witness}
        assert set(await other_watcher.snapshot()) == {blocker}
        await change_blocks(stack, "user_unblocked", blocker, blocked)
        await feed.hears(about(blocker, "listener_online"))
        for client in (presence, watcher):
            await client.hears(about(blocker, "presence_update"))
        assert (await presence.snapshot())[blocker]["is_online"]


async def test_the_only_one_who_hears_of_a_user_with_many_blocks_hears_all(stack: Stack) -> None:
    blocker, stranger = stack.new_user(), stack.new_user()
    await change_blocks(stack, "user_blocked", blocker)
    async with (
        stack.connect("presence", stranger) as presence,
        stack.connect("presence", stranger, query={"watch": f"{blocker}"}) as watcher,
        stack.connect("calls", blocker),
    ):
        for client in (presence, watcher):
            await client.hears(about(blocker, "presence_update"))
        assert (await watcher.snapshot("watch", user_ids=[blocker]))[blocker]["is_online"]


async def test_blocks_hide_presence_and_nothing_else_on_one_socket_for_all(stack: Stack) -> None:
    blocker, blocked, stranger = stack.new_user(), stack.new_user(), stack.new_user()
    of_presence = ("presence_update", "listener_online", "listener_busy", "status_change")
    async with stack.connect("live", blocked) as hidden, stack.connect("live", stranger) as seeing:
        await change_blocks(stack, "user_blocked", blocker, blocked)
        assert (await hidden.hears(about(blocker, "user_blocked")))["data"]["action"] == "blocked_you"
        async with stack.connect("live", blocker, role="listener"):
            for kind in ("presence_update", "listener_online"):
                await seeing.hears(about(blocker, kind))
            call = {"call_id": blocker, "user_id": blocked, "listener_id": blocker, "call_type": "audio"}
            stack.publish("call_started", {**call, "status": "ongoing"})
            await hidden.hears("call_started")
            await seeing.hears(about(blocker, "listener_busy"))
            stack.publish("system_notification", {"title": f"after {blocker}"}, to="everyone")
            await hidden.hears(lambda message: message["data"].get("title") == f"after {blocker}")
            assert not told_of(blocker, hidden) & set(of_presence)
            assert blocker not in await hidden.snapshot()
            assert (await seeing.snapshot())[blocker]["is_busy"]
            await change_blocks(stack, "user_unblocked", blocker, blocked)
            shown = await hidden.hears(about(blocker, "presence_update"))
            assert (shown["data"]["is_online"], shown["data"]["is_busy"]) == (True, True)
            assert (await hidden.snapshot())[blocker]["is_busy"]


async def test_history_is_hidden_from_whom_a_user_has_blocked_since_and_shown_to_whom_they_have_not(
    stack: Stack,
) -> None:
    blocker, other, away = stack.new_user(), stack.new_user(), stack.new_user()

    async def resumed() -> Client:
        async with stack.connect("presence", away) as client:
            await client.send("resume", position=position)
            assert (await client.hears("resumed"))["data"]["complete"]
            return client

    async with stack.connect("presence", away) as client:
        position = (await client.pings())["position"]
    async with stack.connect("presence", stack.new_user()) as witness:
        for user in (other, blocker):
            stack.publish("status_change", {"user_id": user, "is_busy": True})
            await witness.hears(about(user, "status_change"))
    assert told_of(blocker, await resumed()) == {"status_change"}
    await change_blocks(stack, "user_blocked", blocker, away)
    hidden = await resumed()
    assert (told_of(blocker, hidden), told_of(other, hidden)) == (set(), {"status_change"})
    await change_blocks(stack, "user_unblocked", blocker, away)
    assert "status_change" in told_of(blocker, await resumed())
