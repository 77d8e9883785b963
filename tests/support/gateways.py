"""The real gateway on a real port, in front of a small server with the parts of an emulator that the gateway uses."""

from __future__ import annotations

import asyncio
import inspect
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from samsocket.api import Integration, Route, WebSocketApi
from samsocket.aws_names import AwsNames
from samsocket.emulation.vault import KEYS
from samsocket.emulator import Emulator
from samsocket.fallback import Fallback
from samsocket.server import Gateway
from samsocket.settings import Settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from samsocket.activity import Activity

    Function = Callable[[dict[str, Any]], Any]

DEADLINE = 10.0


class FunctionError(Exception):
    """Raised by a fake function: Lambda answers 200 with X-Amz-Function-Error."""


EVERYBODY: dict[str, Any] = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction"}]}


class FakeAws:
    """Lambda's Invoke and GetPolicy, and a management API that knows no connection.

    `events` are what functions got, in order. `policies` are by function, None for a function without one; others let
    everybody in. `services` answers the requests to other services. `secrets` makes it an emulator that tells the
    secrets of its keys, to whoever signs with the key `test`. `failing` is the status of all its answers.
    """

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.events: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.invoke_status = 200
        self.failing: int | None = None
        self.policies: dict[str, dict[str, Any] | None] = {}
        self.services: Callable[[web.BaseRequest, bytes], web.Response] = lambda *_: web.Response(status=404)
        self.enforces: Callable[[web.BaseRequest], bool] = lambda _: False
        self.secrets: dict[str, tuple[str, str | None]] | None = None
        self.endpoint_url = ""
        self._changed = asyncio.Condition()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        if self.failing is not None:
            return web.json_response({"message": "the emulator fails"}, status=self.failing)
        if request.path.startswith(KEYS):
            return self._told(request)
        if request.path.startswith("/_aws/execute-api/"):
            self.requests.append((request.method, request.raw_path, dict(request.headers), body))
            if self.enforces(request):
                denied = {"Message": "User: arn:aws:iam::000000000000:user/x is not authorized"}
                return web.json_response(denied, status=403, headers={"x-amzn-ErrorType": "AccessDeniedException"})
            return web.json_response({"message": "GoneException"}, status=410)
        name = unquote(request.raw_path.split("/")[3]) if request.path.startswith("/2015-03-31/functions/") else ""
        if name and request.path.endswith("/policy"):
            policy = self.policies.get(name, EVERYBODY)
            if policy is None:
                return web.json_response({"Message": "No policy is associated with the given resource."}, status=404)
            return web.json_response({"Policy": json.dumps(policy)})
        self.requests.append((request.method, request.raw_path, dict(request.headers), body))
        return await self._invoke(name, json.loads(body)) if name else self.services(request, body)

    def _told(self, request: web.BaseRequest) -> web.Response:
        if self.secrets is None or "Credential=test/" not in request.headers.get("Authorization", ""):
            return web.Response(status=404)
        secret, token = self.secrets.get(request.path.removeprefix(KEYS), (None, None))
        return web.json_response({"SecretAccessKey": secret, "SessionToken": token})

    async def _invoke(self, name: str, event: dict[str, Any]) -> web.Response:
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        if self.invoke_status != 200:
            return web.json_response({"Message": "no"}, status=self.invoke_status)
        try:
            returned = self.functions[name](event)
            if inspect.isawaitable(returned):
                returned = await returned
        except FunctionError as error:
            failure = {"errorMessage": str(error), "errorType": "Exception"}
            return web.json_response(failure, headers={"X-Amz-Function-Error": "Unhandled"})
        return web.json_response(returned)

    async def event(self, event_type: str, *, count: int = 1, body: str | None = None) -> dict[str, Any]:
        """The `count`th event of a type that some function got, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [
                event
                for event in self.events
                if event.get("requestContext", {}).get("eventType") == event_type
                and (body is None or event.get("body") == body)
            ]

        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]


class RunningGateway:
    """A running gateway, its fake emulator and a client."""

    def __init__(self, aws: FakeAws, gateway: Gateway, client: aiohttp.ClientSession, port: int, api_id: str) -> None:
        self.aws, self.gateway, self.client, self.port, self.api_id = aws, gateway, client, port, api_id
        self.url = f"http://127.0.0.1:{port}"
        self._websockets: list[aiohttp.ClientWebSocketResponse] = []

    async def open(self, path: str | URL = "/ws/feed", **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Connect, and keep the WebSocket: the garbage collector closes one without a reference."""
        url = path if isinstance(path, URL) else self.url + path
        websocket: aiohttp.ClientWebSocketResponse = await self.client.ws_connect(url, **options)
        self._websockets.append(websocket)
        return websocket

    def drop(self) -> None:
        """Drop the sockets of all that connected."""
        for websocket in self._websockets:
            websocket._response.close()

    async def connect(self, path: str = "/ws/feed", **options: Any) -> Client:
        """Connect, and wait for the connection's id."""
        websocket = await self.open(path, **options)
        return Client(websocket, (await self.connections())[-1]["connection_id"])

    async def refused(self, path: str = "/ws/feed", **options: Any) -> aiohttp.WSServerHandshakeError:
        """Connect, which must fail."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await self.client.ws_connect(self.url + path, **options)
        return caught.value

    def management_url(self, connection_id: str, stage: str = "feed", *, plain: bool = False) -> URL:
        base = "" if plain else f"/_aws/execute-api/{self.api_id}"
        return URL(f"{self.url}{base}/{stage}/@connections/{quote(connection_id, safe='')}", encoded=True)

    async def manage(
        self, method: str, connection_id: str, data: bytes | None = None, *, stage: str = "feed", plain: bool = False
    ) -> Answer:
        url = self.management_url(connection_id, stage, plain=plain)
        async with self.client.request(method, url, data=data) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def post(self, connection_id: str, data: bytes | str, **options: Any) -> Answer:
        return await self.manage("POST", connection_id, data.encode() if isinstance(data, str) else data, **options)

    async def control(self, method: str, path: str, **options: Any) -> Answer:
        async with self.client.request(method, f"{self.url}/_gateway/{path}", **options) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def connections(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.control("GET", "connections")).json()
        return rows

    async def until(self, predicate: Callable[[], Awaitable[bool]]) -> None:
        """Check again until the condition holds, or fail at the deadline."""
        async with asyncio.timeout(DEADLINE):
            while not await predicate():
                pass


class Client:
    """A client's WebSocket."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, connection_id: str) -> None:
        self.websocket, self.connection_id = websocket, connection_id

    async def send(self, text: str) -> None:
        await self.websocket.send_str(text)

    async def receive(self) -> str:
        message = await self.websocket.receive(timeout=DEADLINE)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        text: str = message.data
        return text

    async def closed(self) -> tuple[int | None, str]:
        """The close code and reason that the server sent; no message may come before."""
        message = await self.websocket.receive(timeout=DEADLINE)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), message
        return self.websocket.close_code, str(message.extra or "")

    async def close(self, code: int = 1000, reason: bytes = b"") -> None:
        await self.websocket.close(code=code, message=reason)


class Answer:
    """An HTTP response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


class Starter:
    """Starts gateways for a test, and stops them after it."""

    def __init__(self, aws: FakeAws, stack: AsyncExitStack) -> None:
        self.aws, self._stack = aws, stack

    async def __call__(
        self,
        *apis: WebSocketApi,
        settings: Mapping[str, Any] | None = None,
        concurrency: int = 8,
        url_prefix: str = "ws/",
        fallback_url: str | None = None,
        hosts: Collection[str] = (),
        activity: Activity | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        has_aws_names: bool = False,
    ) -> RunningGateway:
        apis = apis or (sample_api(),)
        emulator = await self._stack.enter_async_context(
            Emulator(
                self.aws.endpoint_url, region="us-east-1", access_key="test", secret_key="test", concurrency=concurrency
            )
        )
        fallback = await self._stack.enter_async_context(Fallback(fallback_url)) if fallback_url else None
        names = await self._stack.enter_async_context(AwsNames(self.aws.endpoint_url)) if has_aws_names else None
        gateway = Gateway(
            apis,
            emulator,
            Settings(**(settings or {})),
            url_prefix=url_prefix,
            fallback=fallback,
            hosts=hosts,
            activity=activity,
            aws_names=names,
        )
        await self._stack.enter_async_context(gateway)
        port = await gateway.listen("127.0.0.1", port, tls)
        client = await self._stack.enter_async_context(aiohttp.ClientSession())
        running = RunningGateway(self.aws, gateway, client, port, apis[0].api_id)
        self._stack.callback(running.drop)
        return running


def sample_api(**changes: Any) -> WebSocketApi:
    """An API like the product's: `$default` answers, `note` does not, `mute` lacks a route response."""
    routes = [
        Route(key="$connect", integration=Integration(function="connect")),
        Route(key="$disconnect", integration=Integration(function="disconnect")),
        Route(key="$default", integration=Integration(function="default"), two_way=True),
        Route(key="note", integration=Integration(function="note")),
    ]
    values: dict[str, Any] = {
        "api_id": "realtime",
        "region": "us-east-1",
        "account": "000000000000",
        "stages": {"feed": {}, "calls": {}},
        "routes": {route.key: route for route in routes},
        **changes,
    }
    return WebSocketApi(**values)


def without(route_key: str) -> WebSocketApi:
    """The sample API without one of its routes."""
    api = sample_api()
    return sample_api(routes={key: route for key, route in api.routes.items() if key != route_key})
