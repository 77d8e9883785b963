"""Runs the tool as a developer does: one command in a project's folder, and clients on real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
import boto3
from botocore.credentials import Credentials

from samsocket import guard
from samsocket.ports import free_port
from tests.cloudformation import ROOT

WITHIN = 240.0
"""Seconds for whatever must happen; most of it takes two."""


@dataclass
class Tool:
    """The tool while it runs, in a folder; `urls` are those that it printed, by stage."""

    folder: Path
    output: Path
    urls: dict[str, str]

    def printed(self) -> str:
        """Return all that it printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def client(self, service: str) -> Any:
        """Return a client of the emulator."""
        variables, credentials = self._variables, self.credentials()
        return boto3.Session().client(  # type: ignore[call-overload]
            service,
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name=variables["AWS_REGION"],
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
        )

    def credentials(self, secret: str = "") -> Credentials:
        """Return the run's own key, or one of the same name with another secret."""
        variables = self._variables
        return Credentials(variables["AWS_ACCESS_KEY_ID"], secret or variables["AWS_SECRET_ACCESS_KEY"])

    @cached_property
    def _variables(self) -> dict[str, str]:
        """Return what `samsocket env` prints in the folder."""
        command = [sys.executable, "-m", "samsocket", "env"]
        printed = subprocess.run(
            command, cwd=self.folder, env=_environment(), check=True, capture_output=True, text=True
        )
        return dict(shlex.split(line)[1].split("=", 1) for line in printed.stdout.splitlines())

    async def prints(self, wanted: str, times: int = 1) -> None:
        """Wait until it has printed a text."""
        await until(lambda: self.printed().count(wanted) >= times, lambda: f"never {wanted!r} in {self.printed()}")


def _environment() -> dict[str, str]:
    return {**os.environ, "SAMSOCKET_HOME": str(ROOT / ".tools"), "PYTHONUNBUFFERED": "1"}


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
    with output.open("wb") as log:
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, guard.__file__, *command],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tool = Tool(folder, output, {})
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
