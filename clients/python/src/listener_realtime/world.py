"""What a line asks of the world around it: sockets, timers, the clock, chance. Tests give a world of their own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from listener_realtime.socket import WebSocket

TICK_SECONDS = 15.0
LATE_MS = 5_000
"""A timer that is so late has slept with its machine."""


class Hearing(Protocol):
    """What a socket tells its owner."""

    def opened(self) -> None:
        """The handshake is done."""

    def heard(self, text: str) -> None:
        """A frame came."""

    def refused(self, status: int) -> None:
        """The handshake was refused with an HTTP status; `closed` follows."""

    def closed(self, why: str) -> None:
        """The socket ended, or never opened."""


class Socket(Protocol):
    """One WebSocket. Nothing is told any more after `close`."""

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""

    def send(self, text: str) -> None:
        """Send a frame."""

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left."""

    def close(self) -> None:
        """Close it; does not wait."""

    async def wait_closed(self) -> None:
        """Wait until nothing of it is left."""


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Do not call."""


class World(Protocol):
    """Times are in milliseconds."""

    def open(self, url: str, token: str, hearing: Hearing) -> Socket:
        """Begin to connect."""

    def call_later(self, ms: float, call: Callable[[], None]) -> Timer:
        """Call after a while."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine beside the others."""

    def now_ms(self) -> float:
        """Time since the epoch."""

    def random(self) -> float:
        """A number from 0 to 1."""

    def is_online(self) -> bool:
        """Return false only if the machine knows that it has no network."""

    def listen(self, wake: Callable[[str], None]) -> Callable[[], None]:
        """Call `wake` with the reason when the machine comes back; returns what ends that."""


class AsyncioWorld:
    """The real one: the running event loop, sockets, and the machine's clock."""

    def open(self, url: str, token: str, hearing: Hearing) -> Socket:
        """Begin to connect."""
        return WebSocket(url, token, hearing)

    def call_later(self, ms: float, call: Callable[[], None]) -> Timer:
        """Call after a while."""
        return asyncio.get_running_loop().call_later(ms / 1000, call)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine beside the others."""
        return asyncio.get_running_loop().create_task(work)

    def now_ms(self) -> float:
        """Time since the epoch."""
        return time.time() * 1000

    def random(self) -> float:
        """A number from 0 to 1."""
        return random.random()

    def is_online(self) -> bool:
        """Python does not know: attempts show it."""
        return True

    def listen(self, wake: Callable[[str], None]) -> Callable[[], None]:
        """Look often at the clock: timers stand still while a machine sleeps, and the clock goes on."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def tick(due_ms: float) -> None:
            nonlocal timer
            if self.now_ms() - due_ms > LATE_MS:
                wake("slept")
            timer = loop.call_later(TICK_SECONDS, tick, self.now_ms() + TICK_SECONDS * 1000)

        timer = loop.call_later(TICK_SECONDS, tick, self.now_ms() + TICK_SECONDS * 1000)

        def end() -> None:
            timer.cancel()

        return end


class Timers:
    """Timers by name: setting one again replaces it. Without `is_running`, none can be set."""

    def __init__(self, world: World) -> None:
        self.is_running = False
        self._world = world
        self._running: dict[str, Timer] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def set(self, name: str, ms: float, call: Callable[[], None]) -> None:
        """Call after a while."""
        self.cancel(name)
        if not self.is_running:
            return

        def fire() -> None:
            del self._running[name]
            call()

        self._running[name] = self._world.call_later(ms, fire)

    def cancel(self, *names: str) -> None:
        """Do not call."""
        for name in names:
            if (timer := self._running.pop(name, None)) is not None:
                timer.cancel()

    def stop(self) -> None:
        """Call nothing any more."""
        self.is_running = False
        self.cancel(*self._running)
