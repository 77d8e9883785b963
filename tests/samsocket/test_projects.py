"""Other people's projects, unchanged, by one command each."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import test_utils, web

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

            await client.send_json({"action": "later"})  # its function names the queue's service by AWS's own host
            assert await hears(client) == "worked"

            await client.send_json({"action": "fail"})
            assert json.loads(await hears(client))["message"] == "Internal server error"
            await tool.prints("ValueError: no such room")

            code = folder / "src/app.py"
            code.write_text(code.read_text().replace("echo: ", "you said: "))
            await tool.prints("renewed: ")
            await client.send_str("hello")
            assert await hears(client) == "you said: hello"


async def test_services_mapping_templates_and_stage_variables_work_without_a_proxy(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(PROJECTS / "services-python", tmp_path) as tool:
        assert "not served" not in tool.printed()
        async with http.ws_connect(f"{tool.urls['api']}?room=lobby") as client:
            await client.send_json({"action": "who"})
            assert (await hears(client)).startswith("you are ")
            await client.send_json({"action": "count"})
            assert await hears(client) == "1 in lobby"
            await client.send_json({"action": "order", "item": "tea"})
            assert await hears(client) == 'ordered: "tea"'
            await client.send_str('say "hi"')
            assert json.loads(await hears(client)) == {"heard": {"text": 'say "hi"', "stage": "api"}}


async def test_stages_authorizers_responses_and_other_integrations_of_two_apis_on_one_port(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async def price(request: web.Request) -> web.Response:
        return web.Response(text=f"price of {(await request.json())['item']}")

    application = web.Application()
    application.router.add_post("/price", price)
    async with (
        test_utils.TestServer(application, host="127.0.0.1") as server,
        running(
            PROJECTS / "corners", tmp_path, "--no-watch", "--parameter-overrides", f"Origin={server.make_url('')}"
        ) as tool,
    ):
        green = tool.urls["green"]
        for query, status in (("", "401"), ("?token=unknown", "401"), ("?token=bad", "403")):
            with pytest.raises(aiohttp.WSServerHandshakeError, match=status):
                await http.ws_connect(f"{green}{query}")
        market = green.removesuffix("green") + "Market/blue"
        for url, name in ((green, "green"), (market, "blue")):
            async with http.ws_connect(f"{url}?token=good") as client:
                await client.send_json({"kind": "whoami"})
                assert await hears(client) == f"{name} in {name} for gold"
        async with http.ws_connect(f"{market}?token=good") as client:
            await client.send_json({"kind": "price", "item": "pears"})
            assert await hears(client) == "price of pears"
            await client.send_json({"kind": "post"})
            assert await hears(client) == "posted"
            await client.send_json({"kind": "broken"})
            assert json.loads(await hears(client))["message"] == "Internal server error"
        assert "not served: Missing (AWS::Proton::Environment" in tool.printed()
