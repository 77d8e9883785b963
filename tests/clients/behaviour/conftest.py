"""Each test of behaviour is played with both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.clients.drivers import TYPESCRIPT, NodeDriver, PythonDriver
from tests.clients.scenes import Scene
from tests.clients.server import Server


@pytest.fixture(params=["typescript", "python"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A client and a server; afterwards the client is closed, and nothing may be left of it."""
    if request.param == "typescript" and not (TYPESCRIPT / "node_modules" / "ws").exists():
        pytest.skip("make setup installs the client's tools")
    driver = NodeDriver if request.param == "typescript" else PythonDriver
    async with Server.run() as server, driver.run() as running:
        scene = Scene(running, server)
        yield scene
        await scene.ends()
