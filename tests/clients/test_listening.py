"""`realtime listen`, against a server that does what the test says."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from listener_realtime import Realtime
from operate.errors import CommandError
from operate.listening import messages
from tests.clients.scenes import SINCE, event, refusal, resumed
from tests.clients.server import Connection, Server


class Listening:
    """A command that listens; `said` is what it has printed, `noticed` what it has told the operator."""

    def __init__(self, server: Server, *, has_other_tokens: bool = True) -> None:
        self.said: list[Any] = []
        self.noticed: list[str] = []
        self._client = Realtime(server.url, lambda _anew: "token", endpoints=["calls"])
        self.task = asyncio.get_running_loop().create_task(self._run(has_other_tokens=has_other_tokens))

    async def _run(self, *, has_other_tokens: bool) -> None:
        stream = messages(self._client, self.noticed.append, has_other_tokens=has_other_tokens)
        async with aclosing(stream):
            async for message in stream:
                self.said.append(message["data"])
                if message["type"] == "call_ended":
                    return

    async def fails(self) -> str:
        with pytest.raises(CommandError) as caught:
            await asyncio.wait_for(self.task, 20)
        return str(caught.value)


async def first(server: Server) -> Connection:
    connection = await server.connection(0)
    await connection.hears("ping")
    return connection


async def test_it_prints_events_and_goes_on_after_an_interruption() -> None:
    async with Server.run() as server:
        listening = Listening(server)
        connection = await first(server)
        connection.says(SINCE, event(1))
        connection.closes(1012)
        second = await server.connection(1)
        await second.hears("resume")
        second.says(resumed(), event(2, "call_ended"))
        await asyncio.wait_for(listening.task, 20)
        assert listening.said == [{"call_id": 1}, {"call_id": 2}]
        assert listening.noticed == ["The connection was lost (closed with 1012); connecting again."]
        await second.ends()


async def test_a_refusal_is_printed_and_ends_it() -> None:
    async with Server.run() as server:
        listening = Listening(server)
        (await first(server)).says(refusal("PERMISSION_DENIED"))
        assert await listening.fails() == "The connection was refused. PERMISSION_DENIED: no"
        assert listening.said == [{"code": "PERMISSION_DENIED", "message": "no"}]


async def test_a_token_that_was_given_is_not_tried_twice() -> None:
    async with Server.run() as server:
        listening = Listening(server, has_other_tokens=False)
        connection = await first(server)
        connection.says(refusal("AUTH_FAILED"))
        connection.closes(1000)
        assert "AUTH_FAILED" in await listening.fails()
        assert len(server.connections) == 1


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_a_refused_handshake_is_reported(status: int) -> None:
    async with Server.run() as server:
        server.plans.append(status)
        assert str(status) in await Listening(server, has_other_tokens=False).fails()


async def test_a_service_that_is_not_there_is_reported() -> None:
    async with Server.run() as server:
        pass
    assert (await Listening(server).fails()).startswith("Cannot connect: ")
