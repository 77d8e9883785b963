"""Runs the tool as a developer does: one command in a project's folder, and clients on real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from samsocket import guard
from samsocket.ports import free_port
from tests.cloudformation import ROOT

WITHIN = 240.0
"""Seconds for whatever must happen; most of it takes two."""


@dataclass
class Tool:
    """The tool while it runs; `urls` are those that it printed, by stage."""

    output: Path
    urls: dict[str, str]

    def printed(self) -> str:
        """Return all that it printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    async def prints(self, wanted: str, times: int = 1) -> None:
        """Wait until it has printed a text."""
        await until(lambda: self.printed().count(wanted) >= times, lambda: f"never {wanted!r} in {self.printed()}")


async def until(holds: Callable[[], bool], problem: Callable[[], str]) -> None:
    """Wait until a predicate holds."""
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline, problem()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running(folder: Path, scratch: Path, *arguments: str) -> AsyncIterator[Tool]:
    """Run `samsocket up` in a folder, until the context ends."""
    output = scratch / "up.log"
    with free_port(0) as port:
        pass
    command = [sys.executable, "-m", "samsocket", "up", "--port", str(port), *arguments]
    environment = {**os.environ, "SAMSOCKET_HOME": str(ROOT / ".tools"), "PYTHONUNBUFFERED": "1"}
    with output.open("wb") as log:
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, guard.__file__, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tool = Tool(output, {})
    try:
        await until(
            lambda: "Ctrl-C ends it" in tool.printed() or process.poll() is not None,
            lambda: f"it does not start: {tool.printed()}",
        )
        tool.urls = dict(re.findall(r"stage (\S+):  (ws://\S+)", tool.printed()))
        assert tool.urls, tool.printed()
        yield tool
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.to_thread(process.wait)


async def hears(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Return the next text that a client hears."""
    message = await socket.receive(timeout=WITHIN)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return str(message.data)
