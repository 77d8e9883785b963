"""The client on the command line, as a process of its own before a gateway."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from samsocket.connection import GOING_AWAY
from samsocket.environments import authority
from samsocket.tls import Authority
from tests.support.gateways import DEADLINE, sample_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateways import FakeAws, RunningGateway, Starter


@asynccontextmanager
async def client(
    *words: str, stdin: int = asyncio.subprocess.DEVNULL, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "samsocket", *words),
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(3 * DEADLINE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def printed(*words: str) -> str:
    """Return all that a command prints until it ends."""
    async with client(*words) as process:
        return (await process.communicate())[0].decode()


@pytest.mark.parametrize("by", ["the server", "Ctrl-C"])
@pytest.mark.parametrize("terminals", [0, 1, 2])
async def test_the_client_ends_with_its_connection_though_nobody_types(
    gateway: RunningGateway, by: str, terminals: int
) -> None:
    ours, theirs = pty.openpty() if terminals else os.pipe()[::-1]
    stdout = theirs if terminals == 2 else asyncio.subprocess.PIPE
    url = f"ws://localhost:{gateway.port}/ws/feed"
    async with client("connect", url, stdin=theirs, stdout=stdout) as process:
        await gateway.aws.event("CONNECT")
        if process.stdout is not None:
            assert await process.stdout.readline() == b"connected; Ctrl-D closes\n"
        else:
            shown = b""
            while b"> " not in shown:
                shown += await asyncio.to_thread(os.read, ours, 1_000)
        if by == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            for connection in list(gateway.gateway._connections.values()):
                await connection.close(GOING_AWAY)
        assert await process.wait() == 0
        if by == "the server":
            heard = await process.stdout.read() if process.stdout else await asyncio.to_thread(os.read, ours, 1_000)
            assert b"closed with 1001" in heard
    os.close(ours)
    os.close(theirs)


async def test_each_line_of_the_input_is_sent_and_its_end_closes(gateway: RunningGateway, aws: FakeAws) -> None:
    url = f"ws://localhost:{gateway.port}/ws/feed"
    async with client("connect", url, stdin=asyncio.subprocess.PIPE) as process:
        output, _ = await process.communicate("one\ntwö".encode())
    assert {(await aws.event("MESSAGE", count=count))["body"] for count in (1, 2)} == {"one", "twö"}
    assert b"closed with" in output


async def test_a_client_of_this_machine_trusts_its_authority(
    start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMSOCKET_HOME", str(tmp_path))
    gateway = await start(tls=Authority(authority()).server_context())
    url = f"wss://localhost:{gateway.port}/ws/feed"
    assert await printed("send", "hello", url, "--count", "1") == "echo hello\n"
    (authority() / "ca.pem").unlink()
    assert "no TLS with localhost" in await printed("send", "hello", url)


async def test_of_several_apis_with_one_stage_the_first_is_taken_and_a_refusal_says_why(start: Starter) -> None:
    gateway = await start(sample_api(api_id="one", name="One"), sample_api(api_id="two", name="Two"), url_prefix="")
    options = "--port", str(gateway.port)
    assert await printed("send", "hello", "--count", "1", *options) == "echo hello\n"
    assert "connect to /One/feed or /Two/feed" in await printed("send", "hello", "feed", *options)
