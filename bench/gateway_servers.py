"""The two servers that `bench.gateway` measures, each a process of its own: `python -m bench.gateway_servers NAME`.

`gateway` is the real gateway with a `$connect` that needs no function and an emulator that lets every caller in. `bare`
is the least that holds WebSockets and sends what is posted to one, written with the same library and nothing else.
Both print their port, then each new connection's id on a line.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import sys
from typing import Any

from aiohttp import WSMsgType, web
from botocore.credentials import Credentials

from samsocket.api import Integration, Route, WebSocketApi
from samsocket.emulator import Emulator
from samsocket.events import Handshake
from samsocket.questions import Denial, Request
from samsocket.rights import Rights
from samsocket.server import Gateway
from samsocket.settings import Settings

STAGE = "feed"
UNLIMITED = 1e12


class Generous(Rights):
    """Asks no emulator: every caller has every right."""

    async def permission(self, request: Request, *, counts_for: float) -> Denial | None:
        return None


async def gateway() -> None:
    """Serve as the gateway does."""
    api = WebSocketApi(
        api_id="bench",
        region="us-east-1",
        account="000000000000",
        stages={STAGE: {}},
        routes={"$connect": Route(key="$connect", integration=Integration(kind="MOCK"))},
    )
    settings = Settings(
        connects_per_second=UNLIMITED, requests_per_second=UNLIMITED, requests_burst=UNLIMITED, idle_timeout=UNLIMITED
    )
    emulator = Emulator("http://127.0.0.1:1", region="us-east-1", access_key="test", secret_key="test")
    emulator.rights = Generous(Credentials("test", "test"), emulator.ask, "us-east-1")
    async with emulator, Gateway([api], emulator, settings) as served:
        print(await served.listen("127.0.0.1", 0), flush=True)
        await asyncio.Event().wait()


def announce_ids() -> None:
    """Print the id of each connection of the gateway, which a client cannot know otherwise."""
    made = Handshake.__init__

    def announced(self: Handshake, **values: Any) -> None:
        made(self, **values)
        print(self.connection_id, flush=True)

    Handshake.__init__ = announced  # type: ignore[method-assign]


async def bare() -> None:
    """Serve with the library alone."""
    sockets: dict[str, web.WebSocketResponse] = {}
    numbers = itertools.count()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        _, found, connection_id = request.path.partition("/@connections/")
        if found:
            await sockets[connection_id].send_frame(await request.read(), WSMsgType.TEXT)
            return web.Response()
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        name = base64.urlsafe_b64encode(next(numbers).to_bytes(11, "big")).decode()
        sockets[name] = socket
        print(name, flush=True)
        async for _ in socket:
            pass
        return socket

    server = web.Server(handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, backlog=1024)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    os.sched_setaffinity(0, {0})
    if sys.argv[1] == "gateway":
        announce_ids()
        asyncio.run(gateway())
    else:
        asyncio.run(bare())
