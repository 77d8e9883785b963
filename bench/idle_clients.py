"""What 200 idle clients exchange with the service in ten minutes, beside clients that ping each 30 s on four sockets.

The first are ours with their default settings; they watch one user, who does nothing. The others are what docs/api.md
prints. Both run at the same time against the embedded stack, on real sockets. Nobody may be cut off.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from harness.embedded_stack import embedded_stack
from harness.stack import Stack
from listener_realtime import connect
from realtime.messages import ENDPOINTS
from tools import results

CLIENTS, DOCUMENTED = 200, 10
SECONDS = 600.0
PING_SECONDS = 30.0
OPENING = 8  # handshakes in progress


class Count:
    """The frames of some clients in both directions, and how many of their connections ended."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()
        self.ended = 0


async def ours(stack: Stack, watched: int, count: Count, over: asyncio.Event, turn: asyncio.Semaphore) -> None:
    """Run one of our clients until it is over."""
    user, is_open = stack.new_user(), asyncio.Event()
    token = stack.token(user)
    async with AsyncExitStack() as contexts:
        async with turn:
            realtime = connect(stack.running.websocket_url, token=lambda _anew: token, watch=[watched])

            def changed(change: Any) -> None:
                if is_open.is_set() and not over.is_set() and change.state != "open":
                    count.ended += 1
                elif change.state == "open":
                    is_open.set()

            realtime.on("state", changed)
            realtime.on("message", lambda message: count.frames.update([f"heard {message['type']}"]))
            realtime.on("sent", lambda _frame: count.frames.update(["sent"]))
            await contexts.enter_async_context(realtime)
            await asyncio.wait_for(is_open.wait(), 120)
        await over.wait()


async def documented(stack: Stack, watched: int, count: Count, over: asyncio.Event) -> None:
    """Run one of the documented clients: a socket for each endpoint, a ping each 30 s."""
    user = stack.new_user()

    async def socket(http: aiohttp.ClientSession, endpoint: str) -> None:
        watch = f"&watch={watched}" if endpoint in {"feed", "presence"} else ""
        url = f"{stack.running.websocket_url}/{endpoint}?token={stack.token(user)}{watch}"
        async with http.ws_connect(url) as connection:

            async def ping() -> None:
                while True:
                    await asyncio.sleep(PING_SECONDS)
                    await connection.send_str(json.dumps({"type": "ping"}))
                    count.frames["sent"] += 1

            pinging = asyncio.create_task(ping())
            ending = asyncio.create_task(over.wait())
            while True:
                hearing = asyncio.create_task(connection.receive())
                await asyncio.wait({hearing, ending}, return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    break
                if hearing.result().type is not aiohttp.WSMsgType.TEXT:
                    count.ended += 1
                    break
                count.frames[f"heard {json.loads(hearing.result().data)['type']}"] += 1
            hearing.cancel()
            pinging.cancel()

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(socket(http, endpoint) for endpoint in ENDPOINTS))


async def run(stack: Stack, seconds: float) -> tuple[Count, Count]:
    """Run all for a time; return what ours and the documented clients exchanged."""
    mine, theirs, over, turn = Count(), Count(), asyncio.Event(), asyncio.Semaphore(OPENING)
    watched = stack.new_user()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(DOCUMENTED):
            tasks.create_task(documented(stack, watched, theirs, over))
        for _ in range(CLIENTS):
            tasks.create_task(ours(stack, watched, mine, over, turn))
        await asyncio.sleep(seconds)
        over.set()
    return mine, theirs


def main() -> None:
    """Measure for ten minutes."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        embedded_stack(Path(folder), {}) as (state, running),
    ):
        mine, theirs = asyncio.run(run(Stack(state, running, {}), SECONDS))
        show(mine, theirs)


def show(mine: Count, theirs: Count) -> None:
    """Print and store the figures."""
    each = mine.frames.total() / CLIENTS
    beside = theirs.frames.total() / DOCUMENTED
    print(f"in {SECONDS / 60:.0f} minutes, frames in both directions:")
    print(f"our client, one of {CLIENTS}: {each:.2f}; connections that ended: {mine.ended}; {dict(mine.frames)}")
    print(f"the documented one, one of {DOCUMENTED}: {beside:.2f}; ended: {theirs.ended}; {dict(theirs.frames)}")
    print(f"ratio {each / beside:.4f}")
    results.save(
        "idle_clients",
        {"frames": each, "documented_frames": beside, "ratio": each / beside, "ended": float(mine.ended)},
    )


if __name__ == "__main__":
    main()
