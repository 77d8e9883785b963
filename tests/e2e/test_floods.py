"""What a connection sends too fast, and what it sends back to back, when several function instances work at it."""

from __future__ import annotations

import asyncio
import time

import pytest

from harness.reconfiguring import reconfigured
from harness.stack import Client, Stack

RATE, BURST = 10, 20  # the template's defaults
ROUNDS = 100


async def flood(client: Client, frames: int) -> float:
    """Send pings at once, and wait until each is answered or the connection is closed; return how long that took."""
    began = time.monotonic()
    await asyncio.gather(*(client.send("ping") for _ in range(frames)), return_exceptions=True)
    answered = asyncio.create_task(_answers(client, frames))
    await asyncio.wait_for(answered, 60)
    return time.monotonic() - began


async def _answers(client: Client, frames: int) -> None:
    for _ in range(frames):
        try:
            await client.hears(lambda it: it["type"] in {"pong", "error"})
        except (AssertionError, ConnectionError):
            return  # it was closed


async def test_of_watch_and_unwatch_back_to_back_the_last_sent_holds(stack: Stack) -> None:
    with reconfigured(stack, "Default", MESSAGE_RATE="1000", MESSAGE_BURST="1000"):
        user = stack.new_user()
        async with stack.connect("presence", user, query={"watch": "7"}) as client:
            (connection_id,) = stack.connection_ids(user)
            for number in range(ROUNDS):
                kinds = ("watch", "unwatch") if number % 2 else ("unwatch", "watch")
                for kind in kinds:
                    await client.send(kind, user_ids=[7])
                for _ in kinds:
                    await client.hears("snapshot")
                assert ("presence/7" in stack.connection(connection_id)) is (kinds[-1] == "watch"), number


async def test_sixty_and_sixty_users_at_once_are_never_more_than_a_hundred(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("presence", user) as client:
        (connection_id,) = stack.connection_ids(user)
        for start in (1000, 2000):
            await client.send("watch", user_ids=list(range(start, start + 60)))
        error = await client.hears("error")
        assert error["data"]["code"] == "BAD_REQUEST"
        await client.hears("snapshot")
        watched = [each for each in stack.connection(connection_id) if each.startswith("presence/")]
        assert len(watched) == 60


@pytest.mark.parametrize("frames", [150, 600])
async def test_at_most_twice_the_limit_is_answered_of_pings_at_once(stack: Stack, frames: int) -> None:
    async with stack.connect("notifications", stack.new_user()) as client:
        before = len(client.heard)
        seconds = await flood(client, frames)
        kinds = [each["type"] for each in client.heard[before:]]
        pongs, errors = kinds.count("pong"), kinds.count("error")
        assert BURST <= pongs <= 2 * (BURST + RATE * seconds)
        assert errors
        codes = {each["data"]["code"] for each in client.heard if each["type"] == "error"}
        assert codes == {"RATE_LIMITED"}
        if frames > 300:  # it goes on for more than a hundred refusals
            await client.closed()
    await stack.quiet()  # the emulator still works at what was sent before the end
