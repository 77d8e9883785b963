"""What the local gateway adds to a bare server: memory of 10,000 connections, and posts through `@connections`.

`python -m bench gateway` runs the gateway and a server of the same library alone (bench/gateway_servers.py) in turn on
core 0, with clients and posters on the last core. A rate is per second of the server's own CPU time, so that it does
not depend on how busy the machine was; `_wall` is by the clock.
"""

from __future__ import annotations

import asyncio
import base64
import os
import resource
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tools import results

CONNECTIONS = 10_000
CONNECTING = 200  # handshakes at a time
POSTERS = 32
SECONDS = 4.0
ROUNDS = 3
ROOT = Path(__file__).parents[1]
BODY = b'{"type":"listener_online","data":{"user_id":123},"timestamp":"2026-01-01T00:00:00.000Z"}'
SIGNED = f"Authorization: {'a' * 250}\r\nX-Amz-Date: 20260101T000000Z\r\nX-Amz-Security-Token: {'b' * 400}\r\n"


@dataclass
class Measured:
    """A server's figures in one round: of memory in MB, of CPU in µs a post."""

    empty: float
    full: float
    cpu_us: float
    wall: float


class Discard(asyncio.Protocol):
    """A client that has its handshake answered, and reads without looking."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._answer = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /feed HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        transport.write(request.encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        self._answer += data
        if b"\r\n\r\n" in self._answer:
            if b" 101 " not in self._answer[:20]:
                sys.exit(f"refused: {self._answer[:200]!r}")
            self.opened.set_result(None)


def memory(process: Process) -> float:
    """Return a process's resident memory, in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def cpu(process: Process) -> float:
    """Return the CPU time that a process used, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def post(port: int, ids: list[str], until: float) -> int:
    """Post to one connection after the other on one keep-alive socket; return how often."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    requests = [
        (
            f"POST /feed/@connections/{quote(each, safe='')} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{SIGNED}"
            f"Content-Length: {len(BODY)}\r\n\r\n"
        ).encode()
        + BODY
        for each in ids
    ]
    posted = 0
    while time.monotonic() < until:
        writer.write(requests[posted % len(requests)])
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(f"refused: {answer!r}")
        posted += 1
    writer.close()
    return posted


async def measure(name: str) -> Measured:
    """Fill a server with connections, then post to them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.gateway_servers", name, stdout=PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        empty = memory(process)
        loop = asyncio.get_running_loop()
        ids: list[str] = []
        kept = []
        for _ in range(0, CONNECTIONS, CONNECTING):
            opening = [
                await loop.create_connection(lambda: Discard(port), "127.0.0.1", port) for _ in range(CONNECTING)
            ]
            await asyncio.gather(*(client.opened for _, client in opening))
            kept += opening
            ids += [(await process.stdout.readline()).decode().strip() for _ in range(CONNECTING)]
        full = memory(process)
        began, used = time.monotonic(), cpu(process)
        until = began + SECONDS
        posted = sum(await asyncio.gather(*(post(port, ids[start::POSTERS], until) for start in range(POSTERS))))
        cpu_us = (cpu(process) - used) / posted * 1e6
        wall = posted / (time.monotonic() - began)
        for transport, _ in kept:
            transport.abort()
        return Measured(empty, full, cpu_us, wall)
    finally:
        process.kill()
        await process.wait()


def main() -> None:
    """Measure, print and store the figures."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1_000
    if most != resource.RLIM_INFINITY and most < wanted:
        sys.exit(f"a process may open {most} files; {wanted} are needed: ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))  # what it starts may as many
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    rounds: dict[str, list[Measured]] = {"gateway": [], "bare": []}
    for number in range(ROUNDS):
        for name, measured in rounds.items():
            results.progress(f"round {number + 1} of {ROUNDS}: {name}")
            measured.append(asyncio.run(measure(name)))
    results.progress()
    figures: dict[str, float] = {}
    print(
        f"{CONNECTIONS:,} connections{'':<6}{'MB':>8}{'kB each':>10}{'posts/s':>10}{'µs/post':>9}{'by the clock':>14}"
    )
    for name, measured in rounds.items():
        full = statistics.median(each.full for each in measured)
        each_kb = statistics.median(each.full - each.empty for each in measured) * 1024 / CONNECTIONS
        cpu_us = statistics.median(each.cpu_us for each in measured)
        wall = statistics.median(each.wall for each in measured)
        print(f"{name:<24}{full:>8.0f}{each_kb:>10.1f}{1e6 / cpu_us:>10,.0f}{cpu_us:>9.0f}{wall:>14,.0f}")
        prefix = "" if name == "gateway" else "bare_"
        figures |= {
            f"{prefix}megabytes": full,
            f"{prefix}kilobytes_a_connection": each_kb,
            f"{prefix}posts": 1e6 / cpu_us,
            f"{prefix}posts_wall": wall,
        }
    results.save(
        "gateway",
        {
            **figures,
            "memory_to_bare": figures["kilobytes_a_connection"] / figures["bare_kilobytes_a_connection"],
            "posts_to_bare": figures["posts"] / figures["bare_posts"],
        },
    )


if __name__ == "__main__":
    main()
