"""The life of a connection: as long as its token, or a newer one, and shorter than API Gateway's limit."""

from __future__ import annotations

import time

from harness.stack import Stack

MOVE_AFTER = 110 * 60


async def test_a_newer_token_lets_a_connection_live_longer(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        (connection_id,) = stack.connection_ids(user)
        stack.change_session(connection_id, token_expires_at=int(time.time()) - 1)
        await client.send("authenticate", token=stack.token(user))
        answer = await client.hears("authenticated")
        assert answer["data"]["expires_at"] > answer["timestamp"]
        await stack.sweep()
        await client.pings()
        assert all(each["type"] != "error" for each in client.heard)


async def test_another_users_token_is_refused_and_the_connection_lives(stack: Stack) -> None:
    async with stack.connect("calls", stack.new_user()) as client:
        await client.send("authenticate", token=stack.token(stack.new_user()))
        refusal = await client.hears("error")
        assert refusal["data"] == {"code": "PERMISSION_DENIED", "message": "The token is another user's"}
        await client.pings()


async def test_a_connection_whose_token_has_expired_gets_an_error_and_is_closed(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client, stack.connect("notifications", user) as other:
        connection_id = next(each for each in stack.connection_ids(user) if f"calls/{user}" in stack.connection(each))
        stack.change_session(connection_id, token_expires_at=int(time.time()) - 1)
        await stack.sweep()
        refusal = await client.hears("error")
        assert refusal["data"] == {"code": "AUTH_FAILED", "message": "Invalid or expired token"}
        assert await client.closed() == 1000
        await other.pings()


async def test_a_connection_gets_reconnect_in_time_and_lives_on_until_its_end(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        (connection_id,) = stack.connection_ids(user)
        stack.age(connection_id, MOVE_AFTER + 0.1)  # a sweep tells those who came of age since the last one
        await stack.sweep()
        assert (await client.hears("reconnect"))["data"] == {"within_seconds": 300}
        await stack.sweep()
        await client.pings()
        assert [each["type"] for each in client.heard if each["type"] != "pong"] == ["reconnect"]
