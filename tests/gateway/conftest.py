"""The real gateway on a real port, in front of a fake emulator."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.gateways import FakeAws, RunningGateway, Starter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def aws() -> AsyncIterator[FakeAws]:
    """The fake emulator; its functions let everybody in and echo messages."""
    fake = FakeAws()
    fake.functions = {
        "connect": lambda _: {"statusCode": 200},
        "disconnect": lambda _: {"statusCode": 200},
        "default": lambda event: {"statusCode": 200, "body": f"echo {event['body']}"},
        "note": lambda _: {"statusCode": 200, "body": "never seen"},
    }
    loop = asyncio.get_running_loop()
    server = web.Server(fake.handle, access_log=None)
    listening = await loop.create_server(server, "127.0.0.1", 0)
    fake.endpoint_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield fake
    listening.close()
    await server.shutdown(1)


@pytest.fixture
async def start(aws: FakeAws) -> AsyncIterator[Starter]:
    """Call it to start a gateway."""
    async with AsyncExitStack() as stack:
        yield Starter(aws, stack)


@pytest.fixture
async def gateway(start: Starter) -> RunningGateway:
    """A gateway for the sample API, with API Gateway's quotas."""
    return await start()
