"""The clients of one API: their handshakes, their messages, and the end of each connection."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from samsocket import authorizer, callers, events
from samsocket.api import CONNECT, DISCONNECT
from samsocket.connection import ABNORMAL, POLICY_VIOLATION, Connection, new_websocket
from samsocket.error_frames import error_frame, error_text
from samsocket.errors import BrokenIntegrationError, DeliveryError, IntegrationError, RefusedError
from samsocket.frames import GuardedProtocol
from samsocket.integrations import ProxyResponse, ask
from samsocket.request import Request
from samsocket.settings import HEADER_BYTES, URL_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiohttp.web import BaseRequest

    from samsocket.api import Route, WebSocketApi
    from samsocket.emulator import Emulator
    from samsocket.events import Handshake
    from samsocket.rates import Rates
    from samsocket.reports import Reports
    from samsocket.settings import Settings

    Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

_logger = logging.getLogger(__name__)

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
        reports: Reports,
        rates: Rates,
        spawn: Spawn,
    ) -> None:
        """Bind to an API and to what all APIs of the gateway share; `spawn` starts a task that the gateway ends."""
        self._api, self._connections, self._emulator = api, connections, emulator
        self._settings, self._reports, self._rates, self._spawn = settings, reports, rates, spawn

    def adopt(self, api: WebSocketApi) -> None:
        """Take the API as its template says now."""
        self._api = api

    async def connect(
        self, request: BaseRequest, stage: str, query_string: str, *, lower_case: bool
    ) -> web.StreamResponse:
        """Answer a request that should be a handshake; accept the client and serve its connection until it is closed.

        `lower_case` says that header names come in lower case, as by a multi-level mapping key.
        """
        websocket = new_websocket(self._settings)
        if (refusal := self._unfit(request, stage, websocket)) is not None:
            return refusal
        handshake, began = self._handshake(request, stage, query_string, lower_case=lower_case), time.monotonic()
        try:
            handshake, response = await self._ask_connect(request, handshake)
        except (RefusedError, IntegrationError) as error:
            _logger.warning("$connect: %s", error)
            self._reports.answered(handshake, CONNECT, error.status, began=began)
            return web.json_response(error_frame(handshake, error.message), status=error.status)
        self._reports.answered(handshake, CONNECT, response.status, began=began)
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
            headers=events.handshake_headers(
                pairs, source_ip=source_ip, port=port, scheme=request.scheme, lower_case=lower_case
            ),
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
            await asyncio.sleep(self._settings.latency)
            context = await authorizer.authorize(self._emulator, route.authorizer, handshake, arn, source_arn)
            handshake = dataclasses.replace(handshake, authorizer=context)
        elif route.authorization == "AWS_IAM":
            caller = await callers.signed_by(self._emulator, request, self._api)
            handshake = dataclasses.replace(handshake, caller=caller)
        if route.api_key_required:
            key = callers.with_api_key(self._api, self._rates, handshake)
            handshake = dataclasses.replace(handshake, caller={**handshake.caller, **key})
        return handshake, await self._ask(route, handshake, events.connect_event(handshake))

    async def _ask(self, route: Route, handshake: Handshake, event: dict[str, Any]) -> ProxyResponse:
        source_arn = self._api.arn(handshake.stage, route.key)
        await asyncio.sleep(self._settings.latency)
        return await ask(self._emulator, route, Request.of(event, handshake), source_arn)

    async def _serve(self, connection: Connection) -> None:
        """Keep a connection until either side closes it, then invoke `$disconnect`."""
        self._connections[connection.id] = connection
        self._reports.opened(connection.handshake)
        reading = self._spawn(self._read(connection))
        reading.add_done_callback(lambda _: connection.lost())
        try:
            status_code, reason = await connection.ended()
        finally:
            del self._connections[connection.id]
        self._reports.closed(connection.handshake, status_code, reason)
        # Neither waits for the other: a client should not wait for the function, nor the function for its answer.
        disconnected = self._disconnected(connection.handshake, status_code, reason)
        await asyncio.gather(connection.hang_up(reading), disconnected)

    async def _read(self, connection: Connection) -> None:
        """Take a connection's messages, each in a task of its own."""
        in_flight = asyncio.Semaphore(_MESSAGES_IN_FLIGHT)
        async for message in connection.messages():
            handshake = connection.handshake
            route = self._api.route_for(message, {"stageVariables": handshake.stage_variables})
            key = route.key if route else "-"
            number = self._reports.heard(handshake, key, message)
            if not self._rates.admits(self._api.api_id, handshake.stage, key):
                self._reports.answered(handshake, key, 429, of=number)
                await connection.close(POLICY_VIOLATION)
                continue
            await in_flight.acquire()
            task = self._spawn(self._message(connection, message, route, number))
            task.add_done_callback(lambda _: in_flight.release())

    async def _message(self, connection: Connection, message: str, route: Route | None, number: int | None) -> None:
        """Send a message to its route's integration, and send the result to the client if the route says so.

        `number` is that of the report on the message.
        """
        handshake, began = connection.handshake, time.monotonic()
        if route is None:
            self._reports.answered(handshake, "-", 403, of=number)
            await self._reply(connection, error_frame(handshake, "Forbidden"))
            return
        event = events.message_event(handshake, route.key, message)
        request_id = event["requestContext"]["requestId"]
        try:
            response = await self._ask(route, handshake, event)
            if route.two_way and len(response.body.encode(errors="replace")) > self._settings.message_bytes:
                raise BrokenIntegrationError(f"an answer of more than {self._settings.message_bytes} bytes")
        except IntegrationError as error:
            _logger.warning("%s: %s", route.key, error)
            self._reports.answered(handshake, route.key, error.status, began=began, of=number)
            await self._reply(connection, error_frame(handshake, error.message, request_id))
            return
        self._reports.answered(handshake, route.key, response.status, began=began, of=number)
        if route.two_way and not self._settings.withhold_route_response:
            # Without a body, too: the client then gets an empty frame.
            await self._reply(connection, response.body)

    async def _reply(self, connection: Connection, frame: str | dict[str, str]) -> None:
        text, origin = (frame, "answer") if isinstance(frame, str) else (error_text(frame), "error")
        payload = text.encode(errors="replace")
        try:
            await connection.send(payload, buffer_bytes=self._settings.buffer_bytes)
        except DeliveryError as error:
            _logger.info("reply lost: %s %s", type(error).__name__, connection.id)
        else:
            self._reports.sent(connection.handshake, payload, origin)

    async def _disconnected(self, handshake: Handshake, status_code: int, reason: str) -> None:
        route: Route | None = self._api.routes.get(DISCONNECT)
        if route is None or self._settings.withhold_disconnect:
            return
        began = time.monotonic()
        try:
            response = await self._ask(route, handshake, events.disconnect_event(handshake, status_code, reason))
        except IntegrationError as error:
            _logger.warning("$disconnect: %s", error)
            self._reports.answered(handshake, DISCONNECT, error.status, began=began)
        else:
            self._reports.answered(handshake, DISCONNECT, response.status, began=began)
