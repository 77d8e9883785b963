"""How late call events are while fifty clients a second ("strangers") are refused and leave at once, and without them.

Such a client looks like one whose handshake is not done yet: a post to either is a 410.

The simulator: the real fan-out on one shard's lane, one batch at a time, over loopback, with twenty call events a
second. Farewells, which `connect` orders, send the reason to the refused clients by their own lane and engine. To show
the value of that, another run sends the reason by the lane of calls, as the service did before.

The embedded stack: real sockets that connect without a token and are dropped, and calls from PutEvents to the client.
The cases alternate: without strangers; with four a second (which once delayed everybody's calls from 0.05 s to 0.99 s);
with fifty from one address, most of whom `RefusalRate` refuses at once; with fifty as if each had an address of its
own, so that all are told the reason; and with fifty of those at another stack on the same machine. They share nothing
with the calls but the machine's processors, and on AWS functions do not share those. The ratio of the last two is what
strangers at the same stack add: in the service, and in this stack's one gateway and one emulator.
"""

from __future__ import annotations

import asyncio
import heapq
import statistics
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp

from bench.engine_clients import Frozen
from bench.idle import NobodyBehind, NobodyBlocked, NothingNoted, NotNoted
from harness.embedded_stack import embedded_stack
from harness.fake_api import FakeApi
from harness.reconfiguring import reconfigured
from harness.stack import Client, Stack
from realtime.aws.queues import Queue
from realtime.broadcast import Broadcaster
from realtime.farewell import Farewell, FarewellSender
from realtime.hiding import Hiding
from realtime.invocation import Deadline
from realtime.posting.api import make_poster
from realtime.posting.delivery import D, Result
from realtime.posting.pacing import TokenBucket
from realtime.posting.poster import Poster
from realtime.tables.connections import Connections, Subscriber
from realtime.tables.entries import Entry
from realtime.tables.registry import Gone, Registry
from tools import results

SECONDS = 10.0
CALLS_A_SECOND, STRANGERS_A_SECOND = 20, 50
POLL_SECONDS = 0.05
TURNS, CALLS_A_TURN = 6, 20  # on the embedded stack, each way
FEW_A_SECOND = 4
UNLIMITED = {"REFUSAL_RATE": "10000", "REFUSAL_BURST": "10000"}  # all strangers here have one address


def quantiles(latencies: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in ms."""
    parts = statistics.quantiles(latencies, n=100)
    return parts[49] * 1000, parts[98] * 1000


# ---- the simulator --------------------------------------------------------------------------------------------------


class TimedPoster(Poster):
    """A real Poster that records when each delivery ended."""

    def __init__(self, api: FakeApi) -> None:
        self._poster = make_poster(api.url, "us-east-1", Frozen, quota=TokenBucket(5_000, burst=2_500))
        self.done_at: dict[str, float] = {}

    def deliver(self, deliveries: Iterable[D], *, until: float, in_lane: bool = False) -> Iterator[Result[D]]:
        """Deliver as the Poster does."""
        for result in self._poster.deliver(deliveries, until=until, in_lane=in_lane):
            self.done_at[result.delivery.connection_id] = time.monotonic()
            yield result

    def close(self) -> None:
        """Close the connections to the API."""
        self._poster.close()


class DelayQueue(Queue):
    """The farewells' queue, in memory."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._sent = 0

    def send(self, body: dict[str, Any], *, delay_seconds: int = 0, **_: object) -> None:
        """Send a message, to be received after a delay."""
        with self._lock:
            self._sent += 1
            heapq.heappush(self._waiting, (time.monotonic() + delay_seconds, self._sent, body))

    def send_all(self, messages: Sequence[tuple[dict[str, Any], Mapping[str, str]]], *, delay_seconds: int = 0) -> None:
        """Send messages."""
        for body, _ in messages:
            self.send(body, delay_seconds=delay_seconds)

    def receive(self) -> list[Farewell]:
        """Return up to ten messages whose time has come."""
        found: list[Farewell] = []
        with self._lock:
            while self._waiting and self._waiting[0][0] <= time.monotonic() and len(found) < 10:
                found.append(Farewell(**heapq.heappop(self._waiting)[2]))
        return found


class KnownSubscribers(Connections):
    """The Connections table, in memory: the subscribers of each audience."""

    def __init__(self, of_audience: Mapping[str, list[Subscriber]]) -> None:
        self._of_audience = of_audience

    def about_user(self, audiences: Collection[str], now_s: int) -> dict[str, list[Subscriber]]:
        """Return the subscribers of audiences about one user."""
        return {each: self._of_audience.get(each, []) for each in audiences}

    def subscribers(self, audience: str, now_s: int) -> Iterator[list[Subscriber]]:
        """Yield the one page of an audience."""
        yield self._of_audience.get(audience, [])


class NothingRegistered(Registry):
    """The registry of a service in which no gone connection was registered."""

    def __init__(self) -> None:
        pass

    def forget_all(self, gone: Sequence[Gone], now_ms: int) -> dict[str, Exception]:
        """Forget nothing, without a failure."""
        return {}


class Lane:
    """One shard of the stream, and the function that gets its batches one after another."""

    def __init__(self, api: FakeApi) -> None:
        self.engine = TimedPoster(api)
        pages = {f"calls/{number}": [Subscriber(f"call-{number}", str(number), 0)] for number in range(CALLS)}
        self._broadcaster = Broadcaster(
            KnownSubscribers(pages),
            Hiding(NobodyBlocked()),
            NothingRegistered(),
            NobodyBehind(),
            NotNoted(),
            NothingNoted(),
            self.engine,
            DelayQueue,
            DelayQueue,
            reach="narrow",
            lateness_s=10,
            clock=time.time,
        )
        self._records: list[Entry] = []
        self._lock = threading.Lock()

    def put(self, entry: Entry) -> None:
        """Let the stream show an entry."""
        with self._lock:
            self._records.append(entry)

    def read(self) -> bool:
        """Handle the available entries as one batch; return whether there were any."""
        with self._lock:
            batch, self._records = self._records[:500], self._records[500:]
        if batch:
            until = time.monotonic() + 50
            self._broadcaster.broadcast(batch, Deadline(until, until), now_s=time.time())
        return bool(batch)


CALLS = int(SECONDS * CALLS_A_SECOND)


def simulate(strangers: str) -> list[float]:
    """Return the seconds that each call event took. `strangers` get the reason from nobody, farewells or the lane."""
    with FakeApi() as api:
        lane, queue = Lane(api), DelayQueue()
        speaker, over = FarewellSender(TimedPoster(api), queue), threading.Event()

        def follow() -> None:
            while not over.is_set():
                lane.read()
                over.wait(POLL_SECONDS)

        def farewell() -> None:
            while not over.is_set():
                if batch := queue.receive():
                    speaker.send(batch, time.monotonic() + 8)
                else:
                    over.wait(0.01)

        threads = [threading.Thread(target=each) for each in (follow, farewell)]
        for thread in threads:
            thread.start()
        put_at = _traffic(api, lane, queue, strangers)
        deadline = time.monotonic() + 60
        while any(f"call-{number}" not in lane.engine.done_at for number in put_at) and time.monotonic() < deadline:
            time.sleep(0.05)
        over.set()
        for thread in threads:
            thread.join()
        return [lane.engine.done_at[f"call-{number}"] - at for number, at in put_at.items()]


def _traffic(api: FakeApi, lane: Lane, queue: DelayQueue, strangers: str) -> dict[int, float]:
    """Let calls and strangers come for a while; return when each call's event was there."""
    began = time.monotonic()
    put_at: dict[int, float] = {}
    stranger = 0
    for number in range(CALLS):
        due = began + number / CALLS_A_SECOND
        while stranger < (due - began) * STRANGERS_A_SECOND and strangers != "none":
            _refuse(api, lane, queue, f"stranger-{stranger}", strangers)
            stranger += 1
        time.sleep(max(0.0, due - time.monotonic()))
        put_at[number] = time.monotonic()
        lane.put(Entry(f"calls/{number}", f"{number:028x}", "call_started", "{}", int(time.time()) + 3600))
    return put_at


def _refuse(api: FakeApi, lane: Lane, queue: DelayQueue, connection_id: str, way: str) -> None:
    api.script(connection_id, [410] * 100)  # it has left
    if way == "farewells":
        queue.send(asdict(Farewell(connection_id, "calls", "{}", is_opening=True)))
    else:
        now = int(time.time())
        audience = f"connection/{connection_id}"
        more: dict[str, Any] = {"stage": "calls", "connected_at_ms": now * 1000, "close": True}
        lane.put(Entry(audience, f"{1:028x}", "error", "{}", now + 60, **more))


# ---- the embedded stack ---------------------------------------------------------------------------------------------


async def drop_by(stack: Stack, a_second: int, over: asyncio.Event) -> int:
    """Connect without a good token and leave at once, at a rate a second; returns how often."""
    came, tasks = 0, set[asyncio.Task[None]]()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def come_and_go() -> None:
            with suppress(aiohttp.ClientError, OSError):
                async with http.ws_connect(f"{stack.running.websocket_url}/calls?token=x") as socket:
                    if socket._response.connection and socket._response.connection.transport:  # noqa: SLF001
                        socket._response.connection.transport.abort()  # noqa: SLF001  # without a word

        began = time.monotonic()
        while not over.is_set():
            task = asyncio.create_task(come_and_go())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            came += 1
            await asyncio.sleep(max(0.0, began + came / a_second - time.monotonic()))
        await asyncio.gather(*tasks)
    return came


async def calls(stack: Stack, client: Client, user: int, first: int) -> list[float]:
    """Publish call events one after another, and return the seconds until each was heard."""
    found: list[float] = []
    for number in range(first, first + CALLS_A_TURN):
        began = time.perf_counter()
        detail = {"call_id": number, "user_id": user, "listener_id": user, "number": number}
        publishing = asyncio.create_task(asyncio.to_thread(stack.publish, "call_billing", detail))

        def is_it(message: dict[str, Any], number: int = number) -> bool:
            return bool(message["data"].get("number") == number)

        await client.hears(is_it, 60)
        found.append(time.perf_counter() - began)
        await publishing
        await asyncio.sleep(0.1)
    return found


async def on_the_stack(stack: Stack, elsewhere: Stack) -> dict[str, list[float]]:
    """Measure alternately without strangers and with them."""
    ways = {
        "without": (stack, 0),
        "four": (stack, FEW_A_SECOND),
        "fifty": (stack, STRANGERS_A_SECOND),
        "fifty_told": (stack, STRANGERS_A_SECOND),
        "fifty_elsewhere": (elsewhere, STRANGERS_A_SECOND),
    }
    user, number = stack.new_user(), 0
    found = {way: list[float]() for way in ways}
    async with stack.connect("calls", user) as client:
        await calls(stack, client, user, 1_000_000)  # warm
        for turn in range(TURNS):
            for way, (visited, a_second) in ways.items():
                results.progress(f"turn {turn + 1} of {TURNS}, {way}")
                number += CALLS_A_TURN
                with nullcontext() if way in {"without", "fifty"} else reconfigured(visited, "Connect", **UNLIMITED):
                    found[way] += await among_strangers(stack, client, user, number, visited, a_second)
    results.progress()
    return found


async def among_strangers(
    stack: Stack, client: Client, user: int, first: int, visited: Stack, a_second: int
) -> list[float]:
    """Measure one turn, while strangers visit a stack."""
    if not a_second:
        return await calls(stack, client, user, first)
    over = asyncio.Event()
    dropping = asyncio.create_task(drop_by(visited, a_second, over))
    await asyncio.sleep(1)
    found = await calls(stack, client, user, first)
    over.set()
    await dropping
    await asyncio.sleep(8)  # until the last of them is given up
    return found


def main() -> None:
    """Measure, print and store the figures."""
    figures: dict[str, float] = {}

    def show(name: str, latencies: list[float], beside: float | None) -> float:
        median, last = quantiles(latencies)
        figures[f"{name}_p50_ms"], figures[f"{name}_p99_ms"] = median, last
        ratio = f"{last / beside:>10.2f}" if beside else ""
        print(f"{name.replace('_', ' '):<40}{median:>10.1f}{last:>10.1f}{ratio}")
        return last

    print(f"{'a call event, while strangers':<40}{'p50 ms':>10}{'p99 ms':>10}{'p99 ratio':>10}")
    none = show("simulator_without", simulate("none"), None)
    figures["simulator"] = show("simulator_with", simulate("farewells"), none) / none
    figures["simulator_by_the_lane_of_calls"] = show("simulator_as_before", simulate("lane"), none) / none
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as stacks:
        visited, elsewhere = (
            Stack(*stacks.enter_context(embedded_stack(Path(folder, name), {})), {})
            for name in ("visited", "elsewhere")
        )
        measured = asyncio.run(on_the_stack(visited, elsewhere))
    none = show("stack_without", measured["without"], None)
    for way in ("four", "fifty", "fifty_elsewhere", "fifty_told"):
        figures[f"stack_{way}"] = show(f"stack_with_{way}", measured[way], none) / none
    figures["stack_told_to_elsewhere"] = figures["stack_fifty_told"] / figures["stack_fifty_elsewhere"]
    print(f"fifty told, beside fifty elsewhere on the same processors: {figures['stack_told_to_elsewhere']:.2f}")
    results.save("strangers", figures)


if __name__ == "__main__":
    main()
