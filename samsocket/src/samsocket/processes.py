"""Starts the programs of the stack in such a way that none outlives it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samsocket import guard
from samsocket.errors import ServiceEndedError, StepFailedError

_TAIL_LINES = 25


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Program:
    """A program, where it runs, with what environment, and the file that its output is appended to."""

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    folder: Path
    log: Path

    async def start(self) -> Process:
        """Start it under a guard."""
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                guard.__file__,
                *self.command,
                stdin=PIPE,
                stdout=log,
                stderr=STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
            )

    async def run(self) -> None:
        """Run it to its end; end it when cancelled.

        Raises:
            StepFailedError: it exits with an error.
        """
        process = await self.start()
        try:
            code = await process.wait()
        finally:
            await stop(process)
        if code:
            raise StepFailedError(self.name, code, self.log, tail(self.log))

    async def attend(self) -> None:
        """Run a program that should not end by itself; end it when cancelled.

        Raises:
            ServiceEndedError: it ended by itself.
        """
        process = await self.start()
        try:
            code = await process.wait()
        finally:
            await stop(process)
        raise ServiceEndedError(self.name, code, self.log, tail(self.log))


async def stop(process: Process) -> None:
    """End a program and all that it started; returns when it is gone."""
    if process.returncode is None and process.stdin is not None:
        process.stdin.close()  # to the guard, this means that we have ended
    await process.wait()


def environment(*drop: str, **variables: str) -> dict[str, str]:
    """This process's environment without variables whose names start with one of `drop`, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return kept | variables


def no_proxy_on_this_machine(given: Mapping[str, str]) -> dict[str, str]:
    """Variables by which no proxy is asked for this machine itself, beside the hosts that are excepted already.

    Programs differ in which spelling they prefer, so both say the same.
    """
    hosts = [host.strip() for name in ("no_proxy", "NO_PROXY") for host in given.get(name, "").split(",")]
    excepted = ",".join(dict.fromkeys([*filter(None, hosts), "localhost", "127.0.0.1", "::1"]))
    return {"no_proxy": excepted, "NO_PROXY": excepted}
