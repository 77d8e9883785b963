"""Other people's projects, unchanged, by one command each."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.samsocket.tool import WITHIN, hears, running

PROJECTS = Path(__file__).parent / "projects"

pytestmark = [pytest.mark.timeout(3 * WITHIN), pytest.mark.enable_socket]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_chat_in_node_broadcasts_by_the_execute_api_host(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(PROJECTS / "chat-node", tmp_path) as tool:
        url = tool.urls["Prod"]
        async with http.ws_connect(url) as first, http.ws_connect(url) as second:
            await first.send_json({"action": "sendmessage", "data": "hello, world"})
            assert await hears(second) == "hello, world"
            assert await hears(first) == "hello, world"
            await first.send_str("not JSON")
            assert json.loads(await hears(first))["message"] == "Forbidden"


async def test_a_project_in_python_posts_back_by_the_domain_name_also_from_a_queue(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    folder = shutil.copytree(PROJECTS / "rooms-python", tmp_path / "rooms")
    async with running(folder, tmp_path) as tool:
        url = tool.urls["live"]
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await http.ws_connect(f"{url}?token=bad")
        await tool.prints("Connect answered 401: who are you?")
        assert "not served: Zone (AWS::Route53::RecordSetGroup" in tool.printed()
        async with http.ws_connect(url) as client:
            await client.send_str("hello")
            assert await hears(client) == "echo: hello"
            await tool.prints("Echo | echo of hello")

            await client.send_json({"action": "later"})
            assert await hears(client) == "worked"

            await client.send_json({"action": "fail"})
            assert json.loads(await hears(client))["message"] == "Internal server error"
            await tool.prints("ValueError: no such room")

            code = folder / "src/app.py"
            code.write_text(code.read_text().replace("echo: ", "you said: "))
            await tool.prints("renewed in")
            await client.send_str("hello")
            assert await hears(client) == "you said: hello"
