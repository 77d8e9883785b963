"""Runs the clients that docs/api.md prints, in Node: clients/main.mjs says how."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harness.stack import WITHIN, Stack
from tests.support import contract

FOLDER = Path(__file__).parent / "clients"
WSCAT = FOLDER / "node_modules/.bin/wscat"
SPEED = 20
"""How many times faster the clients' timers run: a heartbeat each 1.5 s, and back within 100 or 250 ms."""

Deed = dict[str, Any]


class DocumentedClients:
    """The actions of documented clients, as they happen; `deeds` has all of them."""

    def __init__(self, process: Process) -> None:
        self.deeds: list[Deed] = []
        self._process = process

    async def does(
        self, client: str, did: str, holds: Callable[[Deed], bool] = lambda _: True, *, after: int = 0
    ) -> Deed:
        """The first deed of a client and kind, from number `after` on, for which a predicate holds."""
        deadline = time.monotonic() + WITHIN
        at = after
        while True:
            for deed in self.deeds[at:]:
                if deed["client"] == client and deed["did"] == did and holds(deed):
                    return deed
            at = len(self.deeds)
            await self._read(deadline, f"{client} to {did}")

    async def hears(self, client: str, kind: str, *, after: int = 0) -> dict[str, Any]:
        """The first message of a type that a client hears, from deed number `after` on."""
        deed = await self.does(client, "hear", lambda deed: deed["message"]["type"] == kind, after=after)
        message: dict[str, Any] = deed["message"]
        return message

    async def _read(self, deadline: float, wanted: str) -> None:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise AssertionError(f"timed out waiting for {wanted}; {self.deeds}") from None
        assert line, f"Node ended before {wanted}"
        deed = json.loads(line)
        if deed["did"] == "hear":
            contract.check_message(deed["message"])
        elif deed["did"] == "send":
            contract.check_sent(deed["message"])
        self.deeds.append(deed)


@asynccontextmanager
async def documented_clients(
    stack: Stack, *clients: Mapping[str, str], speed: float = SPEED
) -> AsyncIterator[DocumentedClients]:
    """Run clients, each a mapping of `name`, `kind`, `endpoint` and `token`."""
    address = stack.running.websocket_url.removesuffix("/ws")
    process = await asyncio.create_subprocess_exec("node", FOLDER / "main.mjs", stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps({"address": address, "speed": speed, "clients": clients}).encode() + b"\n")
        await process.stdin.drain()
        yield DocumentedClients(process)
    finally:
        process.stdin.close()
        await process.communicate()
