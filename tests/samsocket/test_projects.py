"""Other people's projects, unchanged, by one command each."""

from __future__ import annotations

import asyncio
import hmac
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import test_utils, web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from samsocket.environments import Environments
from tests.cloudformation import ROOT
from tests.samsocket.tool import WITHIN, hears, running

PROJECTS = Path(__file__).parent / "projects"

pytestmark = [pytest.mark.timeout(3 * WITHIN), pytest.mark.enable_socket]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_chat_in_node_broadcasts_by_the_execute_api_host_and_nobody_else_posts(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(PROJECTS / "chat-node", tmp_path) as tool:
        url = tool.urls["Prod"]
        async with http.ws_connect(url) as first, http.ws_connect(url) as second:
            await first.send_json({"action": "sendmessage", "data": "hello, world"})
            assert await hears(second) == "hello, world"
            assert await hears(first) == "hello, world"
            await first.send_str("not JSON")
            assert json.loads(await hears(first))["message"] == "Forbidden"
            origin = url.replace("ws://", "http://").removesuffix("/Prod")
            async with http.get(f"{origin}/_gateway/connections") as answer:
                connection_id = quote((await answer.json())[0]["connection_id"], safe="")
            for base in (f"{origin}/Prod", f"{origin}/_aws/execute-api/ChatWebSocket/Prod"):
                for credentials, status in ((None, 403), (tool.credentials("wrong"), 403), (tool.credentials(), 200)):
                    assert await post(http, f"{base}/@connections/{connection_id}", credentials) == status
                assert await hears(first) == "posted"


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


async def test_a_function_that_connect_invokes_greets_the_client(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(PROJECTS / "ack-python", tmp_path) as tool, http.ws_connect(tool.urls["prod"]) as client:
        assert await hears(client) == "you are connected"


async def test_a_mapping_template_before_a_function_gets_what_the_authorizer_said(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(PROJECTS / "templates-node", tmp_path) as tool:
        url = tool.urls["stage"]
        for headers in ({}, {"token": "bye"}):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await http.ws_connect(url, headers=headers)
        async with http.ws_connect(url, headers={"token": "hello"}) as client:
            await client.send_json({"action": "sendmessage", "data": 'a "word"'})
            assert await hears(client) == 'me with gold by sendmessage: a "word"'


async def test_api_gateway_itself_keeps_connections_in_a_table(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(PROJECTS / "sessions-node", tmp_path) as tool:
        url = tool.urls["api"]
        async with http.ws_connect(f"{url}?room=tea") as client:
            async with http.ws_connect(f"{url}?room=ale") as other:
                await other.send_str("look")
                assert sorted(json.loads(await hears(other))) == ["{room=ale}", "{room=tea}"]
            await client.send_str("look")
            while json.loads(await hears(client)) != ["{room=tea}"]:  # disconnect is on its way
                await client.send_str("look")


async def test_a_route_publishes_to_a_topic_without_a_function(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(PROJECTS / "orders-topic", tmp_path) as tool:
        assert "note: sendOrder (AWS::ApiGatewayV2::Route): RequestModels are not checked" in tool.printed()
        queues = tool.client("sqs")
        async with http.ws_connect(tool.urls["production"]) as client:
            await client.send_json({"action": "sendOrder", "Name": "Jane", "Number": "117"})
            url = queues.get_queue_url(QueueName="kept-orders")["QueueUrl"]
            found = await asyncio.to_thread(queues.receive_message, QueueUrl=url, WaitTimeSeconds=20)
        order = json.loads(found["Messages"][0]["Body"])
        assert (order["Name"], order["Phone"]) == ("Jane", "117")


async def test_a_fifo_queue_between_a_route_and_its_function(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with (
        running(PROJECTS / "queue-node", tmp_path) as tool,
        http.ws_connect(tool.urls["production"]) as client,
    ):
        sent = {"MessageGroupId": "a", "text": "tea & cake"}
        await client.send_json(sent)
        assert json.loads(await hears(client))["message"] == sent


async def test_one_function_for_all_routes_with_packages_that_are_installed(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    folder = shutil.copytree(PROJECTS / "answers-node", tmp_path / "answers")
    sdk = Environments(ROOT / ".tools", print).node_sdk([])
    (folder / "src/node_modules").symlink_to(sdk / "node_modules")  # as `npm install` leaves it
    async with running(folder, tmp_path) as tool, http.ws_connect(tool.urls["prod"]) as client:
        await client.send_json({"data": "two words"})
        said = [json.loads(await hears(client))["message"] for _ in range(3)]
        assert said == ["two", "words", "end of 2 for 1"]


async def test_subscribers_with_a_token_as_subprotocol_hear_of_events_on_the_bus(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    token = f"jane.{hmac.new(b'secret', b'jane', 'sha256').hexdigest()}"
    async with running(PROJECTS / "subscriptions-node", tmp_path, "--parameter-overrides", "JwtSecret=secret") as tool:
        url = tool.urls["dev"]
        for protocols in ((), ("websocket", "jane.bad")):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await http.ws_connect(url, protocols=protocols)
        async with http.ws_connect(url, protocols=("websocket", token)) as client:
            assert client.protocol == "websocket"
            await client.send_json({"action": "subscribe", "entityId": "tea"})
            assert await hears(client) == "jane hears of tea"
            for entity in ("ale", "tea"):
                detail = {"entityId": entity, "message": "it is ready"}
                entry = {"Source": "kitchen", "DetailType": "Entity Updated", "Detail": json.dumps(detail)}
                tool.client("events").put_events(Entries=[entry])
            assert json.loads(await hears(client)) == {
                "type": "Entity Updated",
                "entityId": "tea",
                "message": "it is ready",
            }


async def test_functions_have_the_rights_of_their_roles_if_that_is_asked_for(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(PROJECTS / "broadcast-python", tmp_path, "--enforce-iam") as tool:
        url = tool.urls["Prod"]
        async with http.ws_connect(f"{url}?token=joe"):
            pass  # it has no disconnect route: its item stays
        async with http.ws_connect(f"{url}?token=jane") as jane, http.ws_connect(f"{url}?token=joe") as joe:
            await jane.send_json({"action": "sendMessage", "message": "hello"})
            for client in (jane, joe):
                assert json.loads(await hears(client)) == {"sender": "Jane", "message": "hello"}
            await tool.prints("SendMessage | cleaned 1 stale")
            await jane.send_json({"action": "peek"})
            assert json.loads(await hears(jane))["message"] == "Internal server error"
            await tool.prints("is not authorized to perform: dynamodb:Scan")


async def test_stacks_in_the_stack_are_served_as_one_and_watched(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    folder = shutil.copytree(PROJECTS / "nested-python", tmp_path / "nested")
    async with running(folder, tmp_path) as tool:
        assert "not served: Monitoring (AWS::CloudFormation::Stack" in tool.printed()
        async with http.ws_connect(tool.urls["v1"]) as client:
            await client.send_json({"action": "tell"})
            assert await hears(client) == "told by samsocket-State-lobby"
            inner = folder / "api/template.yaml"
            inner.write_text(inner.read_text().replace("        tell: {", "        say: {"))
            await tool.prints("renewed: the template")
            await client.send_json({"action": "say"})
            assert await hears(client) == "told by samsocket-State-lobby"


async def post(http: aiohttp.ClientSession, url: str, credentials: Credentials | None) -> int:
    """Post to a connection, signed or not, and return the status."""
    request = AWSRequest("POST", url, data=b"posted")
    if credentials is not None:
        SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(request)
    async with http.post(URL(url, encoded=True), data=b"posted", headers=dict(request.headers.items())) as answer:
        return answer.status
