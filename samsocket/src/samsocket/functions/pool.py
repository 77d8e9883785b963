"""Keeps the processes of functions warm, and hands each one event at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from samsocket.errors import FunctionFailedError, FunctionUnavailableError
from samsocket.functions import commands
from samsocket.functions.runtime_api import Invocation, RuntimeApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from samsocket.functions.commands import Host
    from samsocket.functions.spec import FunctionSpec

START_SECONDS: Final = 30.0
"""How long a process may take until it asks for its first event."""

_LINE_BYTES: Final = 1 << 20


class Worker:
    """One process of one function."""

    def __init__(self, spec: FunctionSpec, generation: int) -> None:
        """Name it; `start` starts it."""
        self.id = secrets.token_urlsafe(12)
        self.spec, self.generation = spec, generation
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.invocations: asyncio.Queue[Invocation | None] = asyncio.Queue()
        self.current: Invocation | None = None
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, host: Host, runtime_api: str, log: Callable[[str, str], None]) -> None:
        """Start it, and wait until it asks for its first event.

        Raises:
            FunctionFailedError: its module cannot be loaded.
            FunctionUnavailableError: it cannot be started.
        """
        command = commands.command(self.spec, host)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                limit=_LINE_BYTES,
                cwd=self.spec.code[0],
                env=commands.environment(self.spec, host, f"{runtime_api}/{self.id}"),
                start_new_session=True,
            )
        except OSError as error:
            raise FunctionUnavailableError(f"{self.spec.logical_id}: cannot start {command[0]}: {error}") from error
        self._reading = asyncio.create_task(self._read(self._process, log))
        patience = None if self.spec.logical_id in host.debugged else START_SECONDS
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(self.ready)
        except TimeoutError:
            raise FunctionFailedError(f"{self.spec.logical_id}: did not start in {START_SECONDS:g} s") from None

    @property
    def is_alive(self) -> bool:
        """Return whether its process runs."""
        return self._process is not None and self._process.returncode is None

    async def run(self, payload: bytes, seconds: float | None) -> bytes:
        """Hand it an event, and wait for what it returns; after `seconds` it is ended.

        Raises:
            FunctionFailedError: it raised an error, ended, or took too long.
        """
        deadline = time.time() + (seconds or 3600)
        self.current = invocation = Invocation(payload, self.spec.arn, deadline)
        self.invocations.put_nowait(invocation)
        try:
            async with asyncio.timeout(seconds):
                return await invocation.answer
        except TimeoutError:
            message = f"{invocation.request_id} Task timed out after {seconds:.2f} seconds"
            raise FunctionFailedError(_failure(self.spec, "Sandbox.Timedout", message)) from None
        finally:
            self.current = None
            if not invocation.answer.done():
                await self.end()

    async def end(self) -> None:
        """End it, with all that it started."""
        self.invocations.put_nowait(None)
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=1)

    def failed(self, report: str) -> None:
        """Note that its module cannot be loaded."""
        if not self.ready.done():
            self.ready.set_exception(FunctionFailedError(report))

    async def _read(self, process: Process, log: Callable[[str, str], None]) -> None:
        """Pass on the lines that it writes, until it ends."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # a line of more than a megabyte
            if not line:
                break
            log(self.spec.logical_id, line.decode(errors="replace").rstrip("\r\n"))
        code = await process.wait()
        failure = FunctionFailedError(_failure(self.spec, "Runtime.ExitError", f"Runtime exited with exit code {code}"))
        if not self.ready.done():
            self.ready.set_exception(failure)
            self.ready.exception()  # it is retrieved, even if nobody waits any more
        if self.current is not None and not self.current.answer.done():
            self.current.answer.set_exception(failure)


def _failure(spec: FunctionSpec, kind: str, message: str) -> str:
    return f"{spec.logical_id}: {json.dumps({'errorType': kind, 'errorMessage': message})}"


@dataclass
class _Function:
    """A function, and its processes that wait for an event."""

    spec: FunctionSpec
    slots: asyncio.Semaphore
    generation: int = 0
    idle: list[Worker] = field(default_factory=list)
    all: set[Worker] = field(default_factory=set)


class Pool:
    """Runs functions. Use it as an async context manager: it ends its processes."""

    def __init__(self, host: Host, log: Callable[[str, str], None], *, concurrency: int = 8) -> None:
        """Take what all functions share, and a function that is shown each line of a function's log."""
        self._host, self._log, self._concurrency = host, log, concurrency
        self._functions: dict[str, _Function] = {}
        self._names: dict[str, str] = {}
        self._workers: dict[str, Worker] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._api = RuntimeApi(self._workers, self._invoke_for_others)

    async def __aenter__(self) -> Self:
        """Open the port from which the processes take their events."""
        await self._api.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all processes."""
        await asyncio.gather(*(worker.end() for worker in list(self._workers.values())), return_exceptions=True)
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._api.close()

    @property
    def invoke_url(self) -> str:
        """The URL, secret to this run, below which a function can be invoked by its logical id."""
        return self._api.invoke_url

    def offer(self, specs: Iterable[FunctionSpec]) -> None:
        """Take over the functions of a template, in place of those before; what changed is started anew."""
        found = {spec.logical_id: spec for spec in specs}
        for logical_id in self._functions.keys() - found.keys():
            self.renew(logical_id)
            del self._functions[logical_id]
        for logical_id, spec in found.items():
            known = self._functions.get(logical_id)
            if known is None:
                slots = 1 if logical_id in self._host.debugged else self._concurrency
                self._functions[logical_id] = _Function(spec, asyncio.Semaphore(slots))
            elif known.spec != spec:
                known.spec = spec
                self.renew(logical_id)
        self._names = {spec.name: spec.logical_id for spec in found.values()}

    @property
    def functions(self) -> frozenset[str]:
        """Return the logical ids of all functions."""
        return frozenset(self._functions)

    def find(self, name_or_arn: str) -> str | None:
        """Return the logical id of a deployed function, with or without a qualifier; None if it is not one of ours."""
        parts = name_or_arn.split(":")
        name = parts[6] if name_or_arn.startswith("arn:") and len(parts) > 6 else parts[0]
        return self._names.get(name)

    def renew(self, logical_id: str) -> bool:
        """Use a function's code as it is now, from its next event on; events that it works on go on.

        Returns whether it had a process that waited for an event.
        """
        function = self._functions[logical_id]
        function.generation += 1
        was_warm = bool(function.idle)
        while function.idle:
            self._retire(function, function.idle.pop())
        return was_warm

    def warm(self, logical_id: str) -> None:
        """Start a process ahead of the next event. If it fails, that event shows it too."""
        function = self._functions[logical_id]

        async def start() -> None:
            with contextlib.suppress(FunctionFailedError, FunctionUnavailableError):
                function.idle.append(await self._start(function))

        task = asyncio.create_task(start())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def invoke(self, logical_id: str, event: Any) -> Any:
        """Return what a function returns for an event.

        Raises:
            FunctionFailedError: it raised an error, or ended; the text has Lambda's report.
            FunctionUnavailableError: it cannot be started.
        """
        returned = await self._run(logical_id, json.dumps(event, separators=(",", ":")).encode())
        try:
            return json.loads(returned) if returned else None
        except ValueError as error:
            raise FunctionFailedError(f"{logical_id}: returned no JSON") from error

    async def _invoke_for_others(self, logical_id: str, payload: bytes) -> bytes:
        if logical_id not in self._functions:
            raise FunctionUnavailableError(f"no function {logical_id}")
        return await self._run(logical_id, payload)

    async def _run(self, logical_id: str, payload: bytes) -> bytes:
        function = self._functions[logical_id]
        async with function.slots:
            worker = function.idle.pop() if function.idle else None
            if worker is None or not worker.is_alive:
                worker = await self._start(function)
            seconds = None if logical_id in self._host.debugged else function.spec.timeout
            try:
                return await worker.run(payload, seconds)
            finally:
                if worker.is_alive and worker.generation == function.generation:
                    function.idle.append(worker)
                else:
                    self._retire(function, worker)

    async def _start(self, function: _Function) -> Worker:
        worker = Worker(function.spec, function.generation)
        self._workers[worker.id] = worker
        function.all.add(worker)
        try:
            await worker.start(self._host, self._api.address, self._log)
        except BaseException:
            self._retire(function, worker)
            raise
        return worker

    def _retire(self, function: _Function, worker: Worker) -> None:
        function.all.discard(worker)
        task = asyncio.create_task(self._end(worker))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, worker: Worker) -> None:
        await worker.end()
        self._workers.pop(worker.id, None)
