"""Keeps the processes of functions warm, and hands each one event at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from samsocket.errors import FunctionFailedError, FunctionUnavailableError
from samsocket.functions.runtime_api import RuntimeApi
from samsocket.functions.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from samsocket.functions.commands import Host
    from samsocket.functions.spec import FunctionSpec


@dataclass
class _Function:
    """A function, and its processes that wait for an event."""

    spec: FunctionSpec
    slots: asyncio.Semaphore
    generation: int = 0
    warming: asyncio.Task[None] | None = None
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

        Returns whether it had a process that waited for an event, or one that was started ahead.
        """
        function = self._functions[logical_id]
        function.generation += 1
        was_warm = bool(function.idle) or (function.warming is not None and not function.warming.done())
        while function.idle:
            self._retire(function, function.idle.pop())
        return was_warm

    def warm(self, logical_id: str) -> None:
        """Start a process ahead of the next event, which waits for it. If it fails, that event shows it too."""
        function = self._functions[logical_id]

        async def start() -> None:
            with contextlib.suppress(FunctionFailedError, FunctionUnavailableError):
                self._give_back(function, await self._start(function))

        function.warming = task = asyncio.create_task(start())
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
            worker = await self._worker(function)
            seconds = None if logical_id in self._host.debugged else function.spec.timeout
            try:
                return await worker.run(payload, seconds)
            finally:
                self._give_back(function, worker)

    async def _worker(self, function: _Function) -> Worker:
        """Return a process for an event: one that is idle, the one that is started ahead, or a new one."""
        if not function.idle and function.warming is not None:
            await asyncio.wait({function.warming})
        while function.idle:
            worker = function.idle.pop()
            if worker.is_alive:
                return worker
            self._retire(function, worker)
        return await self._start(function)

    def _give_back(self, function: _Function, worker: Worker) -> None:
        """Keep a process for the next event, unless it has ended or its code is not that of now."""
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
