"""One process of one function."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from typing import TYPE_CHECKING, Final

from samsocket.errors import FunctionFailedError, FunctionUnavailableError
from samsocket.functions import commands
from samsocket.functions.runtime_api import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable

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
