"""The two clients under one set of commands: both have real sockets, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import listener_realtime
from listener_realtime.client import Realtime
from listener_realtime.stores import Calls, Presence
from listener_realtime.world import AsyncioWorld, Hearing, Socket, Timer

ROOT = Path(__file__).parents[2]
TYPESCRIPT = ROOT / "clients" / "typescript"
BEGINNING_MS = 1_767_225_600_000  # 2026-01-01, as in clients/typescript/test/world.mjs

Report = dict[str, Any]


class Driver(Protocol):
    """One client. A command returns a report of all that the client has done."""

    async def do(self, command: str, **data: Any) -> Report:
        """Have the client do something."""


class NodeDriver:
    """The TypeScript client, in a process of Node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    async def do(self, command: str, **data: Any) -> Report:
        """Have the client do something."""
        assert self._process.stdin
        assert self._process.stdout
        async with self._turn:
            self._process.stdin.write(json.dumps({"command": command, **data}).encode() + b"\n")
            line = await self._process.stdout.readline()
        assert line, "the driver of the TypeScript client has ended"
        report: Report = json.loads(line)
        return report

    @classmethod
    @asynccontextmanager
    async def run(cls) -> AsyncIterator[NodeDriver]:
        """Start Node, and end it afterwards."""
        process = await asyncio.create_subprocess_exec(
            shutil.which("node") or "node",
            TYPESCRIPT / "test" / "driver.mjs",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        try:
            yield cls(process)
        finally:
            assert process.stdin
            process.stdin.close()
            await process.wait()


class _Timer:
    def __init__(self, due_ms: float, call: Callable[[], None]) -> None:
        self.due_ms, self.call, self.is_cancelled = due_ms, call, False

    def cancel(self) -> None:
        self.is_cancelled = True


class _Counting:
    """Hears for a line, and counts the frames."""

    def __init__(self, hearing: Hearing, received: list[int]) -> None:
        self._hearing, self._received, self._number = hearing, received, len(received)
        received.append(0)

    def opened(self) -> None:
        self._hearing.opened()

    def heard(self, text: str) -> None:
        self._hearing.heard(text)
        self._received[self._number] += 1

    def refused(self, status: int) -> None:
        self._hearing.refused(status)

    def closed(self, why: str) -> None:
        self._hearing.closed(why)


class _World(AsyncioWorld):
    """Real sockets; time passes when a test says so."""

    def __init__(self, chances: list[float]) -> None:
        self.at_ms: float = BEGINNING_MS
        self.online = True
        self.is_listening = False
        self.wake: Callable[[str], None] = lambda _why: None
        self.opened: list[str] = []
        self.received: list[int] = []
        self.sockets: list[Socket] = []
        self._timers: list[_Timer] = []
        self._chances, self._drawn = chances, 0

    @property
    def timers(self) -> int:
        return sum(not timer.is_cancelled for timer in self._timers)

    def open(self, url: str, token: str, hearing: Hearing) -> Socket:
        self.opened.append(url)
        self.sockets.append(super().open(url, token, _Counting(hearing, self.received)))
        return self.sockets[-1]

    def call_later(self, ms: float, call: Callable[[], None]) -> Timer:
        self._timers.append(_Timer(self.at_ms + ms, call))
        return self._timers[-1]

    def now_ms(self) -> float:
        return self.at_ms

    def random(self) -> float:
        self._drawn += 1
        return self._chances[(self._drawn - 1) % len(self._chances)]

    def is_online(self) -> bool:
        return self.online

    def listen(self, wake: Callable[[str], None]) -> Callable[[], None]:
        self.wake, self.is_listening = wake, True

        def end() -> None:
            self.is_listening = False

        return end

    async def pass_(self, ms: float) -> None:
        end = self.at_ms + ms
        while True:
            await settled()
            due = [timer for timer in self._timers if not timer.is_cancelled and timer.due_ms <= end]
            self._timers = [timer for timer in self._timers if not timer.is_cancelled]
            if not due:
                break
            first = min(due, key=lambda timer: timer.due_ms)
            self._timers.remove(first)
            self.at_ms = max(self.at_ms, first.due_ms)
            first.call()
        self.at_ms = max(self.at_ms, end)


async def settled() -> None:
    """Let what was begun happen."""
    for _ in range(5):
        await asyncio.sleep(0)


def token_for(seconds: float, now_ms: float, name: str) -> str:
    """Return a token that expires in so many seconds; nobody checks its signature."""
    claims = json.dumps({"sub": 1, "name": name, "exp": now_ms / 1000 + seconds}).encode()
    return f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


def _is_of_client(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and any(part in code.co_filename for part in ("clients/python", "websockets/asyncio"))


class PythonDriver:
    """The Python client, in this process."""

    def __init__(self) -> None:
        self._seen: Report = {
            "states": [], "heard": [], "sent": [], "asked": [], "iterated": [], "iterationOver": False, "failures": [],
            "told": [], "kept": [],
            "syncing": 0,
        }  # fmt: skip
        self._ends: dict[str, Callable[[], None]] = {}
        self._iteration: asyncio.Task[None] | None = None
        self._given: asyncio.Future[str]

    async def do(self, command: str, **data: Any) -> Report:
        """Have the client do something."""
        done = getattr(self, f"_{command}")(**data)
        if isinstance(done, Awaitable):
            await done
        await settled()
        world = self._world
        return self._seen | {
            "at": world.at_ms,
            "state": self._realtime.state,
            "opened": world.opened,
            "received": world.received,
            "timers": world.timers,
            "isListening": world.is_listening,
            "sockets": sum(not socket.is_gone for socket in world.sockets),
            "positions": self._realtime.positions,
            "presence": list(self._presence.get().values()),
            "calls": self._calls.get(),
        }

    @classmethod
    @asynccontextmanager
    async def run(cls) -> AsyncIterator[PythonDriver]:
        """Have failures of listeners reported, as the client promises."""
        driver = cls()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: driver._seen["failures"].append(str(context["exception"])))
        yield driver
        loop.set_exception_handler(None)

    async def tasks_left(self) -> None:
        """Wait until no task of the client is left, as `wait_closed` promises."""
        await self._realtime.wait_closed()
        left = [task for task in asyncio.all_tasks() if _is_of_client(task)]
        assert not left

    def _new(
        self,
        tokens: list[dict[str, Any]] | None = None,
        chances: list[float] | None = None,
        closeOn: str | None = None,  # noqa: N803  # options have the names that the TypeScript client gives them
        failOn: str | None = None,  # noqa: N803
        oneSocket: bool = True,  # noqa: N803
        **options: Any,
    ) -> None:
        world = self._world = _World(chances or [1])
        plans, seen = tokens or [{"lasts": 86_400}], self._seen

        def provide(anew: bool) -> str | Awaitable[str]:
            plan = plans[min(len(seen["asked"]), len(plans) - 1)]
            seen["asked"].append(anew)
            if "fails" in plan:
                raise LookupError(plan["fails"])
            if "hangs" in plan:
                return asyncio.get_running_loop().create_future()
            if "waits" in plan:
                self._given = asyncio.get_running_loop().create_future()
                return self._given
            return token_for(plan["lasts"], world.at_ms, str(len(seen["asked"])))

        realtime = self._realtime = Realtime(token=provide, world=world, one_socket=oneSocket, **options)

        def fail(_value: Any) -> None:
            raise LookupError("a listener failed")

        def changed(change: listener_realtime.StateChange) -> None:
            shown = {"endpoint": change.endpoint, "state": change.state, "why": change.why, "at": world.at_ms}
            seen["states"].append(shown)
            if change.state == closeOn:
                realtime.close()

        def heard(message: Any) -> None:
            seen["heard"].append(message)
            seen["kept"].append(realtime.positions)
            if message["type"] == closeOn:
                realtime.close()

        def synced(_value: None) -> None:
            seen["syncing"] += 1

        if failOn:
            realtime.on(failOn, fail)
        realtime.on("state", changed)
        realtime.on("message", heard)
        realtime.on("syncing", synced)
        realtime.on("sent", lambda frame: seen["sent"].append({"type": frame.type, "heard": len(seen["heard"])}))
        self._presence, self._calls = Presence(realtime), Calls(realtime)

    def _give(self) -> None:
        if not self._given.cancelled():
            self._given.set_result(token_for(3600, self._world.at_ms, "late"))

    def _open(self) -> None:
        self._realtime.open()

    def _close(self) -> None:
        self._realtime.close()

    async def _pass(self, ms: float) -> None:
        await self._world.pass_(ms)

    async def _sleep(self, ms: float) -> None:
        self._world.at_ms += ms
        await self._world.pass_(0)

    def _wake(self, why: str) -> None:
        self._world.wake(why)

    def _online(self, *, is_known: bool) -> None:
        self._world.online = is_known

    def _watch(self, ids: list[Any]) -> None:
        self._realtime.watch(ids)

    def _unwatch(self, ids: list[Any]) -> None:
        self._realtime.unwatch(ids)

    def _status(self, status: Any) -> None:
        self._seen["told"].append(self._realtime.set_status(status))

    def _sync(self) -> None:
        self._realtime.sync()

    def _send(self, type: str, data: dict[str, Any]) -> None:  # noqa: A002
        self._realtime.send(type, data)

    def _on(self, type: str) -> None:  # noqa: A002
        collected = self._seen[f"on {type}"] = []
        self._ends[type] = self._realtime.on(type, collected.append)

    def _on_twice(self, type: str) -> None:  # noqa: A002
        collected = self._seen[f"on {type}"] = []
        listener = collected.append
        self._ends[type] = self._realtime.on(type, listener)
        self._realtime.on(type, listener)

    def _off(self, type: str) -> None:  # noqa: A002
        self._ends[type]()

    def _iterate(self) -> None:
        async def collect() -> None:
            async for message in self._realtime:
                self._seen["iterated"].append(message["type"])
            self._seen["iterationOver"] = True

        self._iteration = asyncio.get_running_loop().create_task(collect())

    def _look(self) -> None:
        pass
