"""Both clients against the embedded stack, with what breaks connections in between."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.stack import WITHIN, Stack, eventually
from listener_realtime import Calls, Presence, Publisher, connect, events

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("CLIENT_RUNS", "1"))
SECONDS = float(os.environ.get("CLIENT_SECONDS", "0"))  # how long each run lasts at least; they run at once
LEAST_EVENTS, LEAST_CONNECTIONS = 30, 5
LATE_WITHIN = 4 * WITHIN  # several connections in a row may be refused, or cut before they have resumed
REFUSED = 0.2  # of the connections, by the proxy
HEAR = ROOT / "tests" / "e2e" / "clients" / "hear.mjs"


def publisher(stack: Stack) -> Publisher:
    return Publisher.of_boto3(bus=stack.outputs["BusName"], source="marketplace", client=stack.aws("events"))


class Proxy:
    """Stands before the gateway: it refuses connections, delays them, and cuts them after a random number of bytes."""

    def __init__(self, target: str, seed: int) -> None:
        self._host, self._port = str(urlsplit(target).hostname), int(urlsplit(target).port or 80)
        self._random = random.Random(seed)
        self.connections = 0
        self.is_harmless = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self.connections += 1
        if not self.is_harmless and self._random.random() < REFUSED:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._host, self._port)
        budget = self._random.randrange(400, 2000)
        delay = self._random.choice([0.0, 0.0, 0.1, 0.3])

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, budget: int) -> None:
            while data := await source.read(4096):
                if not self.is_harmless:
                    budget -= len(data)
                if not self.is_harmless:
                    await asyncio.sleep(delay)
                sink.write(data if budget >= 0 else data[:budget])
                await sink.drain()
                if budget < 0:
                    return

        ways = [
            asyncio.ensure_future(carry(reader, back, 1_000_000)),
            asyncio.ensure_future(carry(there, writer, budget)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        back.transport.abort()
        writer.transport.abort()

    @classmethod
    @asynccontextmanager
    async def run(cls, target: str, seed: int) -> AsyncIterator[tuple[Proxy, str]]:
        """Serve; gives the address that takes the target's place."""
        proxy = cls(target, seed)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        try:
            yield proxy, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{urlsplit(target).path}"
        finally:
            server.close()


def is_of_client(task: asyncio.Task[Any]) -> bool:
    """Whether a task runs code of the Python client, or of the library below it."""
    frame = task.get_stack(limit=1)
    return any(part in each.f_code.co_filename for each in frame for part in ("listener_realtime", "websockets"))


@asynccontextmanager
async def hearing(client: str, url: str, token: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Connect a client with its defaults; gives the messages that it reports."""
    heard: list[dict[str, Any]] = []
    if client == "python":
        async with connect(url, lambda _anew: token, longest_pause=1.0) as realtime:
            realtime.on("message", lambda message: heard.append(dict(message)))
            yield heard
        return
    process = await asyncio.create_subprocess_exec(
        "node", HEAR, url, token, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )

    async def read() -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            heard.append(json.loads(line))

    reading = asyncio.ensure_future(read())
    yield heard
    assert process.stdin
    process.stdin.close()  # it closes the client; Node ends by itself if nothing is left
    assert await asyncio.wait_for(process.wait(), WITHIN) == 0
    await reading


@pytest.mark.parametrize("client", ["python", "typescript"])
async def test_by_default_a_client_hears_all_endpoints_on_one_socket(stack: Stack, client: str) -> None:
    user, listener = stack.new_user(), stack.new_user()
    async with hearing(client, stack.running.websocket_url, stack.token(user)) as heard:
        await eventually(lambda: any(each["type"] == "snapshot" for each in heard), "a snapshot")
        assert len(stack.connection_ids(user)) == 1
        async with stack.connect("live", listener, role="listener", username="jane"):
            publisher(stack).put(
                events.call_started(
                    call_id=user, user_id=user, listener_id=listener, call_type="audio", status="ongoing"
                ),
                events.favorite_added(user_id=listener, username="jane", to=[user]),
            )
            for kind in ("listener_online", "presence_update", "call_started", "favorite_added", "listener_busy"):
                await eventually(lambda kind=kind: any(each["type"] == kind for each in heard), kind)  # type: ignore[misc]


@pytest.mark.timeout(180 + 10 * SECONDS)
@pytest.mark.parametrize("client", ["python", "typescript"])
async def test_through_broken_connections_all_events_are_heard_once_and_in_order(stack: Stack, client: str) -> None:
    async with asyncio.TaskGroup() as group:
        for seed in range(1, RUNS + 1):
            group.create_task(hear_through_broken_connections(stack, client, seed))
    loop = asyncio.get_running_loop()
    await eventually(lambda: not any(map(is_of_client, asyncio.all_tasks(loop))), "no task of a client left")


async def hear_through_broken_connections(stack: Stack, client: str, seed: int) -> None:
    user = stack.new_user()
    token, bus = stack.token(user, scope="notifications"), publisher(stack)
    async with (
        Proxy.run(stack.running.websocket_url, seed=seed) as (proxy, url),
        hearing(client, url, token) as heard,
    ):
        await eventually(lambda: any(each["type"] == "pong" for each in heard), "a position", LATE_WITHIN)
        until = time.monotonic() + SECONDS
        sent = 0
        while sent < LEAST_EVENTS or proxy.connections < LEAST_CONNECTIONS or time.monotonic() < until:
            note = events.system_notification({"number": sent}, to=[user], ack_within=900)
            await asyncio.to_thread(bus.put, note)
            await eventually(lambda number=sent: number in numbers(heard), f"event {sent}", LATE_WITHIN)  # type: ignore[misc]
            sent += 1
        proxy.is_harmless = True
        await eventually(lambda: len(numbers(heard)) >= sent, "all events")
        assert numbers(heard) == list(range(sent)), f"seed {seed}: in order, and each once"
        logger.info("%s, seed %d: %d events over %d connections", client, seed, sent, proxy.connections)


def numbers(heard: list[dict[str, Any]]) -> list[int]:
    """The numbers of this test's events: those for everyone, of the tests before, have none."""
    events_heard = (each["data"] for each in heard if each["type"] == "system_notification")
    return [data["number"] for data in events_heard if "number" in data]


async def test_an_event_that_is_put_twice_with_one_key_is_heard_once(stack: Stack) -> None:
    user = stack.new_user()
    bus = publisher(stack)
    async with hearing("python", stack.running.websocket_url, stack.token(user)) as heard:
        await eventually(lambda: any(each["type"] == "snapshot" for each in heard), "a snapshot")
        note = events.system_notification({"number": 1}, to=[user], key=f"note-{user}")
        ids = [*bus.put(note), *bus.put(note), *bus.put(note)]

        def logged() -> list[bool]:
            lines = [json.loads(line) for line in stack.logs_of("ingest") if any(each in line for each in ids)]
            return sorted(line["duplicate"] for line in lines if line["message"] == "ingested")

        await eventually(lambda: logged() == [False, True, True], "three events, two of them duplicates")
        bus.put(events.system_notification({"number": 2}, to=[user]))
        await eventually(lambda: 2 in numbers(heard), "the event after them")
        assert numbers(heard) == [1, 2]


async def test_the_stores_show_who_is_online_and_which_calls_go_on(stack: Stack) -> None:
    user, listener = stack.new_user(), stack.new_user()
    realtime = connect(stack.running.websocket_url, lambda _anew: stack.token(user), watch=[listener])
    presence, calls = Presence(realtime), Calls(realtime)
    call: dict[str, Any] = {"call_id": user, "user_id": user, "listener_id": listener}
    bus = publisher(stack)

    def shows(**state: bool) -> bool:
        return state.items() <= dict(presence.get().get(listener, {})).items()

    async with realtime, aclosing(realtime.__aiter__()) as stream:
        await anext(stream)
        async with stack.connect("live", listener, role="listener", username="jane"):
            await eventually(lambda: shows(is_online=True), "online")
            bus.put(events.call_started(**call, call_type="audio", status="ongoing"))
            await eventually(lambda: shows(is_busy=True), "busy")
            await eventually(lambda: [each["ended"] for each in calls.get()] == [False], "a call")
            bus.put(events.call_ended(**call))
            await eventually(lambda: [each["ended"] for each in calls.get()] == [True], "its end")
        await eventually(lambda: shows(is_online=False, is_busy=False), "offline")
