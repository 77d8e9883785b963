"""The gateway: one port for clients, for backends (`@connections`) and for control.

Paths, with `ws/` as the prefix of a custom domain's mapping keys:

| path | what |
| --- | --- |
| `/ws/{stage}`, `/{stage}`, `/_aws/execute-api/{apiId}/{stage}` | a client's handshake |
| `/{stage}/@connections/{id}`, `/_aws/execute-api/{apiId}/{stage}/@connections/{id}` | the management API |
| `/_gateway/…` | control |
| anything else | another server, where one is given (`fallback`); else forbidden |

The gateway serves them only under the names of this machine and under further names that it is given (`hosts`), so that
a web page whose own name was rebound to this machine gets nothing. Clients may be pages of any origin, because a token
identifies them. Control and management refuse pages.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

from aiohttp import web
from aiohttp.log import ws_logger

from samsocket import authorizer, control, events, management
from samsocket.acceptor import Acceptor, listeners
from samsocket.api import CONNECT, DISCONNECT
from samsocket.connection import (
    ABNORMAL,
    GOING_AWAY,
    POLICY_VIOLATION,
    TOO_BIG,
    Connection,
    new_websocket,
)
from samsocket.errors import AddressInUseError, DeliveryError, IntegrationError, RefusedError, StartError
from samsocket.frames import GuardedProtocol
from samsocket.integrations import ProxyResponse, ask
from samsocket.origin_check import FORBIDDEN, MISDIRECTED, is_from_a_page, is_own_host
from samsocket.settings import URL_CHARACTERS, Settings, TokenBucket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Coroutine

    from aiohttp.web import BaseRequest

    from samsocket.api import Route, WebSocketApi
    from samsocket.aws_names import AwsNames
    from samsocket.emulator import Emulator
    from samsocket.events import Handshake
    from samsocket.fallback import Fallback

_logger = logging.getLogger(__name__)
_access = logging.getLogger("samsocket.access")

_BACKLOG: Final = 1024
_EXPIRY_SECONDS: Final = 0.25
_SHUTDOWN_SECONDS: Final = 5.0
_MESSAGES_IN_FLIGHT: Final = 128
"""Messages of one connection that may wait for their functions. While so many wait, the connection is not read."""


class Gateway:
    """Serves one WebSocket API. Use it as an async context manager: it listens while the context is open."""

    def __init__(
        self,
        api: WebSocketApi,
        emulator: Emulator,
        settings: Settings | None = None,
        *,
        url_prefix: str = "ws/",
        fallback: Fallback | None = None,
        hosts: Collection[str] = (),
        aws_names: AwsNames | None = None,
    ) -> None:
        """Bind to an API and the emulator that runs its functions; its client, and the fallback's, must be open.

        `hosts` are names, without a port, by which it is reached beside those of this machine. `aws_names` takes what
        functions send to other services of AWS.
        """
        self._aws_names = aws_names
        self._api, self._emulator, self._settings, self._fallback = api, emulator, settings or Settings(), fallback
        self._connections: dict[str, Connection] = {}
        self._management = management.Management(api.api_id, self._connections, emulator, self._settings)
        self._control = control.Control(api, self._connections, self._settings, self._set_rates)
        self._execute_api = f"/_aws/execute-api/{api.api_id}/"
        self._url_prefix = "/" + url_prefix.lstrip("/")
        self._hosts = frozenset(f"[{name.strip('[]')}]" if ":" in name else name for name in map(str.lower, hosts))
        self._background: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Future[None]] = set()
        self._server: asyncio.Server | Acceptor | None = None
        self._handler: web.Server | None = None
        self._set_rates()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Start to listen, and return the port (that is new when `port` is 0). With `tls` it takes both, TLS and plain.

        Raises:
            AddressInUseError: another process listens there.
            StartError: the address cannot be used.
        """
        # aiohttp's warning contains the subprotocols that a client offered, which may include a token.
        ws_logger.setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        self._handler = handler = web.Server(self._handle, loop=loop)
        options: dict[str, Any] = {"access_log": None, "max_line_size": 4 * URL_CHARACTERS, "max_field_size": 16_384}

        def protocol() -> GuardedProtocol:
            return GuardedProtocol(handler, loop=loop, **options)

        try:
            if tls is None:
                self._server = await loop.create_server(protocol, host, port, backlog=_BACKLOG)
            else:
                self._server = Acceptor(listeners(host, port, _BACKLOG), protocol, tls)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(host, port) from error
            raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._spawn(self._expire())
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def adopt(self, api: WebSocketApi) -> None:
        """Serve an API as its template says now; connections stay, and take their next message by its routes."""
        self._api = api
        self._control.adopt(api)
        self._set_rates()

    async def __aenter__(self) -> Self:
        """Do nothing yet: `listen` opens the port."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close the port and all connections; their `$disconnect` functions have 5 s."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            await connection.close(GOING_AWAY, "Going away")
        if self._serving:
            await asyncio.wait(self._serving, timeout=_SHUTDOWN_SECONDS)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._handler is not None:
            self._handler.pre_shutdown()
            await self._handler.shutdown(1)

    def _set_rates(self) -> None:
        settings, now = self._settings, time.monotonic()
        self._connects = TokenBucket(settings.connects_per_second, settings.connects_per_second, now)
        self._requests = TokenBucket(settings.requests_per_second, settings.requests_burst, now)
        self._throttles = {
            key: TokenBucket(throttle.rate, throttle.burst, now) for key, throttle in self._api.throttles.items()
        }

    def _admits(self, stage: str, route_key: str) -> bool:
        """Take a token of a route's own throttle, if it has one, and one of the account's bucket."""
        now = time.monotonic()
        throttle = self._throttles.get((stage, route_key))
        return (throttle is None or throttle.take(now)) and self._requests.take(now)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _expire(self) -> None:
        """Close the connections that were idle or open for too long."""
        while True:
            await asyncio.sleep(_EXPIRY_SECONDS)
            now = time.monotonic()
            for connection in list(self._connections.values()):
                if connection.expired(self._settings, now):
                    await connection.close(GOING_AWAY, "Going away")

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:  # noqa: PLR0911 - one for each kind of path
        """Send a request where its path leads."""
        if self._aws_names is not None and self._aws_names.takes(request):
            return await self._aws_names.handle(request)
        if not is_own_host(request.headers.getall("Host", []), names=self._hosts):
            return _turned_away(MISDIRECTED, "not a name of this gateway; if it should be: --allow-host NAME")
        path, _, query_string = request.raw_path.partition("?")
        if "%" in path:
            path = unquote(path)
        head, found, connection_id = path.partition("/@connections/")
        if (found or path.startswith(control.PREFIX)) and is_from_a_page(request.headers):
            return _turned_away(FORBIDDEN, "web pages may neither manage connections nor control the gateway")
        if found:
            return await self._manage(request, head, connection_id)
        if path.startswith(control.PREFIX):
            return await self._control.handle(request, path)
        stage, lower_case = self._stage_of(path)
        if stage is None:
            return management.forbidden() if self._fallback is None else await self._fallback.handle(request)
        return await self._connect(request, stage, query_string, lower_case=lower_case)

    async def _manage(self, request: BaseRequest, head: str, connection_id: str) -> web.Response:
        emulated = head.startswith(self._execute_api)
        stage = head.removeprefix(self._execute_api if emulated else "/")
        if stage not in self._api.stages:
            return management.forbidden()
        if not self._requests.take(time.monotonic()):
            return management.error(429, "LimitExceededException", "Too Many Requests")
        if "Expect" in request.headers and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await self._management.handle(request, stage, connection_id, emulated=emulated)

    def _stage_of(self, path: str) -> tuple[str | None, bool]:
        """Return the stage that a handshake's path names, and whether a multi-level mapping key led there."""
        for prefix in (self._url_prefix, "/", self._execute_api):
            if path.startswith(prefix) and (stage := path[len(prefix) :].removesuffix("/")) in self._api.stages:
                return stage, prefix == self._url_prefix and prefix != "/"
        return None, False

    async def _connect(
        self, request: BaseRequest, stage: str, query_string: str, *, lower_case: bool
    ) -> web.StreamResponse:
        """Answer a request that should be a handshake."""
        websocket = new_websocket()
        if (refusal := self._unfit(request, stage, websocket)) is not None:
            return refusal
        served = asyncio.get_running_loop().create_future()
        self._serving.add(served)
        try:
            return await self._admit(request, stage, query_string, websocket, lower_case=lower_case)
        finally:
            self._serving.discard(served)
            served.set_result(None)

    async def _admit(
        self,
        request: BaseRequest,
        stage: str,
        query_string: str,
        websocket: web.WebSocketResponse,
        *,
        lower_case: bool,
    ) -> web.StreamResponse:
        """Accept a client and serve its connection until it is closed, or refuse the client."""
        handshake = self._handshake(request, stage, query_string, lower_case=lower_case)
        try:
            handshake, response = await self._ask_connect(handshake)
        except (RefusedError, IntegrationError) as error:
            _logger.warning("$connect: %s", error)
            _log(handshake, CONNECT, error.status)
            return web.json_response(_error_frame(handshake, error.message), status=error.status)
        _log(handshake, CONNECT, response.status)
        if not 200 <= response.status < 300:
            return web.Response(status=response.status)
        if subprotocol := response.headers.get("sec-websocket-protocol", "").strip():
            websocket.headers["Sec-WebSocket-Protocol"] = subprotocol
        transport = request.transport
        try:
            await websocket.prepare(request)
        except ConnectionError:
            transport = None
        if transport is None:  # the client left while its function ran, which must hear of it
            await self._disconnected(handshake, ABNORMAL, "")
            return websocket
        connection = Connection(handshake, websocket, transport)
        if isinstance(request.protocol, GuardedProtocol):
            request.protocol.guard.on_breach(lambda: self._spawn(connection.close(TOO_BIG)))
        await self._serve(connection)
        return websocket

    def _unfit(self, request: BaseRequest, stage: str, websocket: web.WebSocketResponse) -> web.Response | None:
        """The answer to a request that is no handshake, or to a handshake over the rate."""
        if "websocket" not in request.headers.get("Upgrade", "").lower():
            return web.json_response({"message": "Upgrade Required"}, status=426, headers={"Upgrade": "websocket"})
        if len(request.raw_path) > URL_CHARACTERS:
            return web.json_response({"message": "Request-URI Too Long"}, status=414)
        if not websocket.can_prepare(request).ok:
            return web.json_response({"message": "Bad Request"}, status=400)
        if not (self._connects.take(time.monotonic()) and self._admits(stage, CONNECT)):
            return web.json_response({"message": "Too Many Requests"}, status=429)
        return None

    def _handshake(self, request: BaseRequest, stage: str, query_string: str, *, lower_case: bool) -> Handshake:
        source_ip = request.remote or ""
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        pairs = [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in request.raw_headers]
        return events.Handshake(
            api_id=self._api.api_id,
            stage=stage,
            stage_variables=self._api.stages[stage],
            domain_name=request.headers.get("Host", ""),
            source_ip=source_ip,
            user_agent=request.headers.get("User-Agent"),
            headers=events.handshake_headers(pairs, source_ip=source_ip, port=port, lower_case=lower_case),
            query=events.query_values(query_string),
        )

    async def _ask_connect(self, handshake: Handshake) -> tuple[Handshake, ProxyResponse]:
        """Invoke the authorizer and the function of `$connect`, if the route has them.

        Raises:
            RefusedError: the authorizer refuses.
            IntegrationError: the function gives no usable answer.
        """
        route = self._api.routes.get(CONNECT)
        if route is None:
            return handshake, ProxyResponse(status=200)
        if route.authorizer is not None:
            arn = self._api.arn(handshake.stage, CONNECT)
            context = await authorizer.authorize(self._emulator, route.authorizer, handshake, arn)
            handshake = dataclasses.replace(handshake, authorizer=context)
        return handshake, await ask(self._emulator, route, events.connect_event(handshake))

    async def _serve(self, connection: Connection) -> None:
        """Keep a connection until either side closes it, then invoke `$disconnect`."""
        self._connections[connection.id] = connection
        reading = self._spawn(self._read(connection))
        reading.add_done_callback(lambda _: connection.lost())
        try:
            status_code, reason = await connection.ended()
        finally:
            del self._connections[connection.id]
        await self._disconnected(connection.handshake, status_code, reason)
        await connection.hang_up(reading)

    async def _read(self, connection: Connection) -> None:
        """Take a connection's messages, each in a task of its own."""
        in_flight = asyncio.Semaphore(_MESSAGES_IN_FLIGHT)
        async for message in connection.messages():
            route = self._api.route_for(message)
            if not self._admits(connection.handshake.stage, route.key if route else "-"):
                _log(connection.handshake, route.key if route else "-", 429)
                await connection.close(POLICY_VIOLATION)
                continue
            await in_flight.acquire()
            task = self._spawn(self._message(connection, message, route))
            task.add_done_callback(lambda _: in_flight.release())

    async def _message(self, connection: Connection, message: str, route: Route | None) -> None:
        """Send a message to its route's function, and send the result to the client if the route says so."""
        handshake = connection.handshake
        if route is None:
            _log(handshake, "-", 403)
            await self._reply(connection, _error_frame(handshake, "Forbidden"))
            return
        event = events.message_event(handshake, route.key, message)
        request_id = event["requestContext"]["requestId"]
        try:
            response = await ask(self._emulator, route, event)
        except IntegrationError as error:
            _logger.warning("%s: %s", route.key, error)
            _log(handshake, route.key, error.status)
            await self._reply(connection, _error_frame(handshake, error.message, request_id))
            return
        _log(handshake, route.key, response.status)
        if route.two_way and not self._settings.withhold_route_response:
            # Without a body, too: the client then gets an empty frame.
            await self._reply(connection, response.body)

    async def _reply(self, connection: Connection, frame: str | dict[str, str]) -> None:
        text = frame if isinstance(frame, str) else _error_text(frame)
        try:
            await connection.send(text.encode(errors="replace"), buffer_bytes=self._settings.buffer_bytes)
        except DeliveryError as error:
            _logger.info("reply lost: %s %s", type(error).__name__, connection.id)

    async def _disconnected(self, handshake: Handshake, status_code: int, reason: str) -> None:
        route: Route | None = self._api.routes.get(DISCONNECT)
        if route is None or self._settings.withhold_disconnect:
            return
        try:
            response = await ask(self._emulator, route, events.disconnect_event(handshake, status_code, reason))
        except IntegrationError as error:
            _logger.warning("$disconnect: %s", error)
            _log(handshake, DISCONNECT, error.status)
        else:
            _log(handshake, DISCONNECT, response.status)


def _turned_away(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _error_frame(handshake: Handshake, message: str, request_id: str | None = None) -> dict[str, str]:
    return {
        "message": message,
        "connectionId": handshake.connection_id,
        "requestId": request_id or events.new_id(),
    }


def _error_text(frame: dict[str, str]) -> str:
    """Return an error frame with API Gateway's own spacing."""
    message = json.dumps(frame["message"])
    return f'{{"message": {message}, "connectionId":"{frame["connectionId"]}", "requestId":"{frame["requestId"]}"}}'


def _log(handshake: Handshake, route_key: str, status: int) -> None:
    """Write a line of the access log. Like AWS's, it has no query string; it has no headers either."""
    _access.info("%s %s %s %s %s", handshake.source_ip, handshake.stage, route_key, status, handshake.connection_id)
