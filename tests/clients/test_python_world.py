"""The Python client's real world: sockets that close in time, and a machine that sleeps."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from listener_realtime import socket, world
from listener_realtime.socket import WebSocket
from tests.clients.server import Connection, Server, until


class Hearing:
    """Writes down what a socket tells."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def opened(self) -> None:
        self.told.append("opened")

    def heard(self, text: str) -> None:
        self.told.append(text)

    def refused(self, status: int) -> None:
        self.told.append(status)

    def closed(self, why: str) -> None:
        self.told.append(why)


async def opened(server: Server) -> tuple[WebSocket, Hearing, Connection]:
    hearing = Hearing()
    made = WebSocket(server.url, "a-token", hearing)
    connection = await server.connection(0)
    await until(lambda: made.is_open, lambda: "an open socket")
    return made, hearing, connection


async def test_what_was_sent_before_close_arrives() -> None:
    async with Server.run() as server:
        made, hearing, connection = await opened(server)
        made.send('{"type": "ack", "data": {}}')
        made.close()
        await made.wait_closed()
        await connection.hears("ack")
        assert hearing.told == ["opened"]
        assert made.is_gone


async def test_a_line_that_takes_nothing_any_more_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "CLOSE_SECONDS", 0.2)
    async with AsyncExitStack() as stack:
        hearing, requested = Hearing(), asyncio.Event()
        connections: list[Connection] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            def accept(connection: Connection) -> None:
                connection.answers("accept")
                connections.append(connection)
                reader._transport.pause_reading()  # type: ignore[attr-defined]  # the kernel's buffers fill up
                requested.set()

            await Connection(writer).serve(reader, accept)

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        stack.callback(listening.close)
        made = WebSocket(f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", "a-token", hearing)
        await requested.wait()
        await until(lambda: made.is_open, lambda: "an open socket")
        for _ in range(200):
            made.send("x" * 100_000)
        made.close()
        await asyncio.wait_for(made.wait_closed(), 10)
        assert made.is_gone
        connections[0].drops()
        await until(lambda: len(asyncio.all_tasks()) == 1, asyncio.all_tasks)


async def test_a_fault_while_a_frame_is_handled_is_reported_and_closes_the_connection() -> None:
    class Faulty(Hearing):
        def heard(self, text: str) -> None:
            raise LookupError(text)

    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    async with Server.run() as server:
        hearing = Faulty()
        made = WebSocket(server.url, "a-token", hearing)
        (await server.connection(0)).says("a frame")
        await asyncio.wait_for(made.wait_closed(), 10)
        await server.connections[0].ends()
    assert hearing.told == ["opened", "closed with 1011"]
    assert [repr(each) for each in reported] == ["LookupError('a frame')"]


async def test_a_redirect_is_not_followed_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server.run() as server:
        server.plans.append(302)
        hearing = Hearing()
        made = WebSocket(server.url, "a-token", hearing)
        await made.wait_closed()
        assert hearing.told[-1] == "refused with status 302"
        assert len(server.connections) == 1


async def test_an_address_that_is_none_is_reported() -> None:
    hearing = Hearing()
    await WebSocket("https://example.test", "a-token", hearing).wait_closed()
    assert len(hearing.told) == 1
    assert "scheme" in hearing.told[0]


async def test_a_clock_that_goes_on_while_timers_stand_still_means_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "TICK_SECONDS", 0.01)
    slept = 0.0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + slept)
    woken: list[str] = []
    real_world = world.AsyncioWorld()
    end = real_world.listen(woken.append)
    await asyncio.to_thread(time.sleep, 0.05)
    assert woken == []
    slept = 3600
    await until(lambda: woken == ["slept"], lambda: woken)
    end()
    assert not [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
