"""The clients of one API: their handshakes, their messages, and the end of each connection."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import web

from samsocket import authorizer, events
from samsocket.api import API_KEY_OF_THE_AUTHORIZER, CONNECT, DISCONNECT
from samsocket.connection import ABNORMAL, POLICY_VIOLATION, Connection, new_websocket
from samsocket.errors import BrokenIntegrationError, DeliveryError, IntegrationError, RefusedError
from samsocket.frames import GuardedProtocol
from samsocket.integrations import ProxyResponse, Request, ask
from samsocket.settings import HEADER_BYTES, MESSAGE_BYTES, URL_CHARACTERS
from samsocket.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiohttp.web import BaseRequest

    from samsocket.api import Route, WebSocketApi
    from samsocket.emulator import Emulator
    from samsocket.events import Handshake
    from samsocket.rates import Rates
    from samsocket.settings import Settings

    Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

_logger = logging.getLogger(__name__)
_access = logging.getLogger("samsocket.access")

_MESSAGES_IN_FLIGHT: Final = 128
"""Messages of one connection that may wait for their functions. While so many wait, the connection is not read."""


class Clients:
    """Serves the clients of one API."""

    def __init__(
        self,
        api: WebSocketApi,
        connections: dict[str, Connection],
        emulator: Emulator,
        settings: Settings,
        rates: Rates,
        spawn: Spawn,
    ) -> None:
        """Bind to an API and to what all APIs of the gateway share; `spawn` starts a task that the gateway ends."""
        self._api, self._connections, self._emulator = api, connections, emulator
        self._settings, self._rates, self._spawn = settings, rates, spawn

    def adopt(self, api: WebSocketApi) -> None:
        """Take the API as its template says now."""
        self._api = api

    async def connect(
        self, request: BaseRequest, stage: str, query_string: str, *, lower_case: bool
    ) -> web.StreamResponse:
        """Answer a request that should be a handshake; accept the client and serve its connection until it is closed.

        `lower_case` says that header names come in lower case, as by a multi-level mapping key.
        """
        websocket = new_websocket(compress=self._settings.compression)
        if (refusal := self._unfit(request, stage, websocket)) is not None:
            return refusal
        handshake = self._handshake(request, stage, query_string, lower_case=lower_case)
        try:
            handshake, response = await self._ask_connect(request, handshake)
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
            request.protocol.guard.on_breach(lambda code: self._spawn(connection.close(code)))
        await self._serve(connection)
        return websocket

    def _unfit(self, request: BaseRequest, stage: str, websocket: web.WebSocketResponse) -> web.Response | None:
        """The answer to a request that is no handshake, or to a handshake over a limit."""
        if "websocket" not in request.headers.get("Upgrade", "").lower():
            return web.json_response({"message": "Upgrade Required"}, status=426, headers={"Upgrade": "websocket"})
        if len(request.raw_path) > URL_CHARACTERS:
            return web.json_response({"message": "Request-URI Too Long"}, status=414)
        if len(request.raw_path) + sum(len(value) for _, value in request.raw_headers) > HEADER_BYTES:
            return web.json_response({"message": "Request Header Fields Too Large"}, status=431)
        if not websocket.can_prepare(request).ok:
            return web.json_response({"message": "Bad Request"}, status=400)
        if not self._rates.admits_handshake(self._api.api_id, stage):
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

    async def _ask_connect(self, request: BaseRequest, handshake: Handshake) -> tuple[Handshake, ProxyResponse]:
        """Check who the client is as the route of `$connect` wants it, and invoke the route's integration.

        Raises:
            RefusedError: the client may not connect.
            IntegrationError: the function gives no usable answer.
        """
        route = self._api.routes.get(CONNECT)
        if route is None:
            return handshake, ProxyResponse(status=200)
        if route.authorizer is not None:
            arn = self._api.arn(handshake.stage, CONNECT)
            source_arn = self._api.authorizer_arn(route.authorizer.authorizer_id)
            context = await authorizer.authorize(self._emulator, route.authorizer, handshake, arn, source_arn)
            handshake = dataclasses.replace(handshake, authorizer=context)
        elif route.authorization == "AWS_IAM":
            caller = await self._signed_by(request)
            handshake = dataclasses.replace(handshake, caller=caller)
        if route.api_key_required:
            handshake = dataclasses.replace(handshake, caller={**handshake.caller, **self._api_key(handshake)})
        return handshake, await self._ask(route, handshake, events.connect_event(handshake))

    async def _signed_by(self, request: BaseRequest) -> dict[str, str]:
        """Check a handshake's signature, and return what events tell of the caller.

        Raises:
            RefusedError: the request is not signed, or its signature does not count.
        """
        signature = Signature.of(request.headers, request.raw_path.partition("?")[2])
        if signature is None:
            raise RefusedError(403, "Missing Authentication Token")
        try:
            counts = await self._emulator.authenticates(request.method, request.raw_path, request.headers, b"")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RefusedError(500, "Internal server error") from error
        if not counts:
            raise RefusedError(403, "The request signature we calculated does not match the signature you provided.")
        return {"accessKey": signature.access_key, "accountId": self._api.account}

    def _api_key(self, handshake: Handshake) -> dict[str, str]:
        """Check a handshake's API key, and return what events tell of it.

        Raises:
            RefusedError: 403 without a key that a usage plan lets into the stage, 429 over that plan's rate.
        """
        if self._api.api_key_selection == API_KEY_OF_THE_AUTHORIZER:
            value = str(handshake.authorizer.get("usageIdentifierKey", ""))
        else:
            headers = {name.lower(): values[-1] for name, values in handshake.headers.items()}
            value = headers.get("x-api-key", "")
        key = self._api.api_keys.get(value)
        if key is None or handshake.stage not in key.stages:
            raise RefusedError(403, "Forbidden")
        if not self._rates.admits_key(key):
            raise RefusedError(429, "Too Many Requests")
        return {"apiKey": value, "apiKeyId": key.key_id}

    async def _ask(self, route: Route, handshake: Handshake, event: dict[str, Any]) -> ProxyResponse:
        source_arn = self._api.arn(handshake.stage, route.key)
        return await ask(self._emulator, route, Request.of(event, handshake), source_arn)

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
            handshake = connection.handshake
            route = self._api.route_for(message, {"stageVariables": handshake.stage_variables})
            if not self._rates.admits(self._api.api_id, handshake.stage, route.key if route else "-"):
                _log(handshake, route.key if route else "-", 429)
                await connection.close(POLICY_VIOLATION)
                continue
            await in_flight.acquire()
            task = self._spawn(self._message(connection, message, route))
            task.add_done_callback(lambda _: in_flight.release())

    async def _message(self, connection: Connection, message: str, route: Route | None) -> None:
        """Send a message to its route's integration, and send the result to the client if the route says so."""
        handshake = connection.handshake
        if route is None:
            _log(handshake, "-", 403)
            await self._reply(connection, _error_frame(handshake, "Forbidden"))
            return
        event = events.message_event(handshake, route.key, message)
        request_id = event["requestContext"]["requestId"]
        try:
            response = await self._ask(route, handshake, event)
            if route.two_way and len(response.body.encode(errors="replace")) > MESSAGE_BYTES:
                raise BrokenIntegrationError(f"an answer of more than {MESSAGE_BYTES} bytes")
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
            response = await self._ask(route, handshake, events.disconnect_event(handshake, status_code, reason))
        except IntegrationError as error:
            _logger.warning("$disconnect: %s", error)
            _log(handshake, DISCONNECT, error.status)
        else:
            _log(handshake, DISCONNECT, response.status)


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
