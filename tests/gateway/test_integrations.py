"""Integrations that are no Lambda proxies: MOCK, HTTP, HTTP_PROXY, and AWS to functions and services."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from samsocket.api import Integration, IntegrationResponse, Route
from samsocket.backends import service_call
from samsocket.errors import BrokenIntegrationError
from tests.support.gateways import sample_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from samsocket.api import WebSocketApi
    from tests.support.gateways import Client, FakeAws, Starter

PREFIX = "arn:aws:apigateway:us-east-1"
ANY = {"$default": IntegrationResponse()}


def api_with(key: str = "$default", *, two_way: bool = True, **integration: Any) -> WebSocketApi:
    """The sample API, one of whose routes has another integration."""
    routes = dict(sample_api().routes)
    routes[key] = Route(key=key, integration=Integration(**integration), two_way=two_way)
    return sample_api(routes=routes, stages={"feed": {"table": "Rooms", "host": "nowhere", "fn": "default"}})


class HttpServer:
    """An HTTP server that remembers requests; `status` and `text` are its answer."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.status, self.text, self.url = 200, '{"heard": true}', ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.raw_path, headers, (await request.read()).decode()))
        return web.Response(status=self.status, text=self.text, headers={"X-Backend": "here"})


@pytest.fixture
async def backend() -> AsyncIterator[HttpServer]:
    backend = HttpServer()
    server = web.Server(backend.handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    backend.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield backend
    listening.close()
    await server.shutdown(1)


async def ask(client: Client, message: str) -> str:
    await client.send(message)
    return await client.receive()


def assert_is_error(text: str) -> None:
    assert json.loads(text)["message"] == "Internal server error"


# ---- MOCK ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("templates", "status"),
    [({}, 101), ({"200": '{"statusCode":200}'}, 101), ({"200": '{"statusCode": 403}'}, 403)],
)
async def test_a_mock_answers_with_the_status_of_its_template(
    start: Starter, templates: dict[str, str], status: int
) -> None:
    gateway = await start(api_with("$connect", two_way=False, kind="MOCK", templates=templates, selection="200"))
    if status == 101:
        await gateway.connect()
    else:
        assert (await gateway.refused()).status == status


async def test_a_mock_answers_a_message_with_its_response_template(start: Starter) -> None:
    response = IntegrationResponse(templates={"$default": "you are $context.connectionId"}, selection=r"\$default")
    gateway = await start(api_with(kind="MOCK", templates={"200": '{"statusCode":200}'}, responses={"/200/": response}))
    client = await gateway.connect()
    assert await ask(client, "x") == f"you are {client.connection_id}"


# ---- HTTP ----------------------------------------------------------------------------------------------------------


async def test_an_http_proxy_gets_the_message_and_its_answer_reaches_the_client(
    start: Starter, backend: HttpServer
) -> None:
    parameters = {
        "integration.request.header.X-Connection": "context.connectionId",
        "integration.request.header.X-Static": "'fixed'",
        "integration.request.querystring.room": "route.request.body.room",
        "integration.request.querystring.table": "stageVariables.table",
        "integration.request.path.id": "route.request.body.room",
    }
    backend.status, backend.text = 404, "not JSON"
    gateway = await start(api_with(kind="HTTP_PROXY", uri=f"{backend.url}/r/{{id}}", parameters=parameters))
    client = await gateway.connect()
    assert await ask(client, '{"room": "r1"}') == "not JSON"
    [(method, path, headers, body)] = backend.requests
    assert (method, path, body) == ("POST", "/r/r1?room=r1&table=Rooms", '{"room": "r1"}')
    assert (headers["x-connection"], headers["x-static"]) == (client.connection_id, "fixed")


async def test_an_http_integration_is_asked_and_answers_by_templates(start: Starter, backend: HttpServer) -> None:
    backend.status, backend.text = 404, '{"error": "no such room"}'
    responses = {
        "$default": IntegrationResponse(),
        r"/4\d\d/": IntegrationResponse(templates={"$default": "failed: $input.path('$.error')"}),
    }
    templates = {"$default": '{"room": "$input.path(\'$.r\')"}'}
    gateway = await start(
        api_with(kind="HTTP", uri=backend.url, method="PUT", templates=templates, responses=responses)
    )
    client = await gateway.connect()
    assert await ask(client, '{"r": 7}') == "failed: no such room"
    assert [(method, body) for method, _, _, body in backend.requests] == [("PUT", '{"room": "7"}')]
    backend.status, backend.text = 200, "fine"
    assert await ask(client, '{"r": 7}') == "fine"


@pytest.mark.parametrize(("status", "let_in"), [(200, True), (204, True), (403, False), (500, False)])
async def test_an_http_backend_of_connect_decides_who_is_let_in(
    start: Starter, backend: HttpServer, status: int, let_in: bool
) -> None:
    backend.status = status
    gateway = await start(api_with("$connect", two_way=False, kind="HTTP_PROXY", uri=backend.url))
    if let_in:
        await gateway.connect("/ws/feed?token=t", headers={"X-Key": "k"})
    else:
        assert (await gateway.refused("/ws/feed?token=t", headers={"X-Key": "k"})).status == status
    [(_, path, headers, _)] = backend.requests
    assert (path, headers["x-key"]) == ("/?token=t", "k")
    assert "sec-websocket-key" not in headers


@pytest.mark.parametrize("uri", ["", "nonsense", "http://127.0.0.1:1", "https://${stageVariables.host}.invalid"])
async def test_an_http_backend_that_is_not_there_is_an_internal_server_error(start: Starter, uri: str) -> None:
    gateway = await start(api_with(kind="HTTP", uri=uri, responses=ANY))
    assert_is_error(await ask(await gateway.connect(), "x"))


async def test_a_backend_that_is_too_slow_is_a_timeout(start: Starter, backend: HttpServer) -> None:
    async def hang(_: web.BaseRequest) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    server = web.Server(hang, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    gateway = await start(api_with(kind="HTTP_PROXY", uri=url, timeout=0.05))
    assert json.loads(await ask(await gateway.connect(), "x"))["message"] == "Endpoint request timed out"
    listening.close()
    await server.shutdown(0.01)


# ---- AWS -----------------------------------------------------------------------------------------------------------


async def test_a_function_that_is_no_proxy_gets_what_the_template_makes(start: Starter, aws: FakeAws) -> None:
    aws.functions["plain"] = lambda event: {"got": event}
    template = '{"id": "$context.connectionId", "text": "$input.path(\'$.text\')"}'
    gateway = await start(
        api_with(kind="AWS", function="plain", templates={"application/json": template}, responses=ANY)
    )
    client = await gateway.connect()
    answer = json.loads(await ask(client, '{"text": "hi"}'))
    assert answer == {"got": {"id": client.connection_id, "text": "hi"}}


async def test_without_a_template_the_message_itself_is_sent(start: Starter, aws: FakeAws) -> None:
    aws.functions["plain"] = lambda event: event
    gateway = await start(api_with(kind="AWS", function="plain", responses=ANY))
    assert await ask(await gateway.connect(), '{"a": [1]}') == '{"a":[1]}'


@pytest.mark.parametrize(
    ("passthrough", "templates", "passes"),
    [
        ("WHEN_NO_MATCH", {"x": "y"}, True),
        ("WHEN_NO_TEMPLATES", {"x": "y"}, False),
        ("WHEN_NO_TEMPLATES", {}, True),
        ("NEVER", {}, False),
    ],
)
async def test_the_passthrough_behaviour_decides_about_messages_without_a_template(
    start: Starter, aws: FakeAws, passthrough: str, templates: dict[str, str], passes: bool
) -> None:
    aws.functions["plain"] = lambda event: event
    gateway = await start(
        api_with(kind="AWS", function="plain", passthrough=passthrough, templates=templates, responses=ANY)
    )
    answer = json.loads(await ask(await gateway.connect(), '{"a": 1}'))
    assert answer == {"a": 1} if passes else answer["message"] == "Unsupported Media Type"


async def test_without_an_integration_response_a_two_way_route_answers_with_an_error(
    start: Starter, aws: FakeAws
) -> None:
    gateway = await start(api_with(kind="AWS", function="default", responses={"/4../": IntegrationResponse()}))
    assert_is_error(await ask(await gateway.connect(), '{"body": "x"}'))
    assert aws.events[-1] == {"body": "x"}


@pytest.mark.parametrize(
    "integration",
    [
        {"kind": "MOCK", "responses": {"/2(0/": IntegrationResponse()}},
        {
            "kind": "AWS",
            "uri": f"{PREFIX}:sns:action/Publish",
            "parameters": {"integration.request.header.X-A": "route.request.body.line"},
            "responses": ANY,
        },
    ],
)
async def test_whatever_goes_wrong_with_a_message_the_client_is_told_and_the_log_says_why(
    start: Starter, caplog: pytest.LogCaptureFixture, integration: dict[str, Any]
) -> None:
    gateway = await start(api_with(**integration))
    assert_is_error(await ask(await gateway.connect(), '{"line": "a\\r\\nb"}'))
    assert [record for record in caplog.records if "Error: " in record.getMessage() or "error: " in record.getMessage()]


async def test_a_one_way_route_needs_no_integration_response(start: Starter, aws: FakeAws) -> None:
    aws.functions["plain"] = lambda event: event
    gateway = await start(api_with("note", two_way=False, kind="AWS", function="plain"))
    client = await gateway.connect()
    await client.send('{"action": "note"}')
    assert await ask(client, "next") == "echo next"


async def test_a_service_gets_a_signed_request_and_its_answer_is_mapped(start: Starter, aws: FakeAws) -> None:
    aws.services = lambda *_: web.json_response({"Item": {"name": {"S": "lobby"}}})
    gateway = await start(
        api_with(
            kind="AWS",
            uri=f"{PREFIX}:dynamodb:action/GetItem",
            templates={"$default": '{"TableName": "$stageVariables.table", "Key": {"id": {"S": "1"}}}'},
            responses={"/200/": IntegrationResponse(templates={"$default": "$input.path('$.Item.name.S')"})},
        )
    )
    assert await ask(await gateway.connect(), "x") == "lobby"
    [(method, path, sent, body)] = [request for request in aws.requests if request[1] == "/"]
    headers = {name.lower(): value for name, value in sent.items()}
    assert (method, path) == ("POST", "/")
    assert headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert "/us-east-1/dynamodb/aws4_request" in headers["authorization"]
    assert json.loads(body) == {"TableName": "Rooms", "Key": {"id": {"S": "1"}}}


@pytest.mark.parametrize(("status", "let_in"), [(200, True), (400, False)])
async def test_a_service_can_be_the_integration_of_connect(
    start: Starter, aws: FakeAws, status: int, let_in: bool
) -> None:
    aws.services = lambda *_: web.json_response({}, status=status)
    template = '{"Item": {"id": {"S": "$context.connectionId"}, "q": {"S": "$input.params(\'room\')"}}}'
    gateway = await start(
        api_with("$connect", kind="AWS", uri=f"{PREFIX}:dynamodb:action/PutItem", templates={"$default": template})
    )
    if let_in:
        client = await gateway.connect("/ws/feed?room=r")
        sent = json.loads(aws.requests[0][3])
        assert sent["Item"] == {"id": {"S": client.connection_id}, "q": {"S": "r"}}
    else:
        assert (await gateway.refused("/ws/feed?room=r")).status == status


@pytest.mark.parametrize(
    ("uri", "headers", "body", "path", "sent"),
    [
        (
            "states:action/StartExecution",
            {},
            "{}",
            "/",
            {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AWSStepFunctions.StartExecution"},
        ),
        (
            "events:action/PutEvents",
            {},
            "{}",
            "/",
            {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AWSEvents.PutEvents"},
        ),
        (
            "sqs:path/000000000000/queue.fifo",
            {"Content-Type": "application/x-www-form-urlencoded"},
            "Action=SendMessage&MessageBody=x",
            "/000000000000/queue.fifo",
            {"content-type": "application/x-www-form-urlencoded"},
        ),
        (
            "sqs:action/SendMessage",
            {"Content-Type": "application/x-www-form-urlencoded"},
            "Action=SendMessage&MessageBody=x",
            "/",
            {"content-type": "application/x-www-form-urlencoded"},
        ),
        (
            "sns:action/Publish",
            {},
            "Action=Publish&Message=x",
            "/",
            {"content-type": "application/x-www-form-urlencoded"},
        ),
    ],
)
def test_a_services_uri_stands_for_its_request(
    uri: str, headers: dict[str, str], body: str, path: str, sent: dict[str, str]
) -> None:
    call = service_call(f"{PREFIX}:{uri}", headers, {}, f"\n{body}\n")
    assert (call.path, dict(call.headers), call.body.strip()) == (path, sent, body)


def test_an_action_that_the_body_does_not_name_is_added_to_it() -> None:
    named = {"Action": ["Publish"], "Version": ["2010-03-31"]}
    call = service_call(f"{PREFIX}:sns:action/Publish", {}, {}, "Message=x")
    assert (call.path, parse_qs(call.body)) == ("/", {**named, "Message": ["x"]})
    call = service_call(f"{PREFIX}:sns:action/Publish", {}, {"TopicArn": "a:b"}, "")
    assert (parse_qs(call.path[2:]), call.body) == ({**named, "TopicArn": ["a:b"]}, "")


@pytest.mark.parametrize("uri", ["", "arn:aws:sns:us-east-1:1:topic", f"{PREFIX}:nothing:action/Do"])
def test_a_uri_of_no_service_is_broken(uri: str) -> None:
    with pytest.raises(BrokenIntegrationError):
        service_call(uri, {}, {}, "")


# ---- stage variables, permissions, broken integrations -------------------------------------------------------------


async def test_a_stage_variable_in_a_functions_name_is_replaced(start: Starter, aws: FakeAws) -> None:
    gateway = await start(api_with(function="${stageVariables.fn}"))
    assert await ask(await gateway.connect(), "x") == "echo x"
    gateway = await start(api_with(function="${stageVariables.missing}none"))
    assert_is_error(await ask(await gateway.connect(), "x"))


async def test_a_function_that_does_not_let_api_gateway_invoke_it_is_an_internal_server_error(
    start: Starter, aws: FakeAws
) -> None:
    gateway = await start()
    aws.policies["default"] = None
    client = await gateway.connect()
    assert_is_error(await ask(client, "x"))
    assert [event["requestContext"]["eventType"] for event in aws.events] == ["CONNECT"]
    aws.policies["default"] = {"Statement": []}
    assert_is_error(await ask(client, "x"))
    del aws.policies["default"]
    assert await ask(client, "x") == "echo x"


async def test_a_function_of_connect_without_a_permission_refuses_with_500(start: Starter, aws: FakeAws) -> None:
    aws.policies["connect"] = None
    assert (await (await start()).refused()).status == 500
    assert aws.events == []


async def test_a_role_of_the_integration_stands_for_a_permission(start: Starter, aws: FakeAws) -> None:
    aws.policies["default"] = None
    gateway = await start(api_with(function="default", has_credentials=True))
    assert await ask(await gateway.connect(), "x") == "echo x"


async def test_a_broken_integration_answers_with_an_error_and_the_others_work(start: Starter) -> None:
    gateway = await start(api_with("broken", problem="cannot resolve it"))
    client = await gateway.connect()
    assert_is_error(await ask(client, '{"action": "broken"}'))
    assert await ask(client, "x") == "echo x"
