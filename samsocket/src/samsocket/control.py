"""`/_gateway/…`: requests of tests and tools to the gateway itself. It refuses web pages. AWS has no such paths.

Below `/_gateway/page/` is the gateway's own page (`page`).

| request | answer |
| --- | --- |
| `GET /_gateway/health` | `{"state": "ready", "api_id", "stages", "connections", "apis"}` |
| `GET /_gateway/connections` | `connection_id, api_id, stage, source_ip, connected_at, last_active_at` of each |
| `POST /_gateway/connections/{id}/kill` | 204, the socket dropped without a close frame; 404 if there is none |
| `POST /_gateway/connections/{id}/post` | 204, the body sent to the client; 404 if there is none |
| `GET /_gateway/settings` | the settings by name, as on the command line with `_` for `-` |
| `PATCH /_gateway/settings` | the settings after the change; 400 with `{"message"}` if one is not allowed |
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from samsocket.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp.web import BaseRequest

    from samsocket.api import WebSocketApi
    from samsocket.connection import Connection
    from samsocket.reports import Reports
    from samsocket.settings import Settings

PREFIX: Final = "/_gateway/"


class Control:
    """Serves the control endpoint of one gateway."""

    def __init__(
        self,
        connections: Mapping[str, Connection],
        settings: Settings,
        settings_changed: Callable[[], None],
        reports: Reports,
    ) -> None:
        """Bind to a gateway; `settings_changed` is called after each change."""
        self._connections, self._settings, self._settings_changed = connections, settings, settings_changed
        self._reports = reports
        self._apis: Sequence[WebSocketApi] = ()

    def adopt(self, apis: Sequence[WebSocketApi]) -> None:
        """Take the APIs as their template says now."""
        self._apis = apis

    async def handle(self, request: BaseRequest, path: str) -> web.Response:
        """Answer one request."""
        match request.method, path.removeprefix(PREFIX).split("/"):
            case "GET", ["health"]:
                answer = web.json_response(self._health())
            case "GET", ["connections"]:
                answer = web.json_response([row(connection) for connection in self._connections.values()])
            case "POST", ["connections", connection_id, "kill"]:
                answer = self._kill(connection_id)
            case "POST", ["connections", connection_id, "post"]:
                answer = await self._post(connection_id, await request.read())
            case "GET", ["settings"]:
                answer = web.json_response(dataclasses.asdict(self._settings))
            case "PATCH", ["settings"]:
                answer = self._change(await request.read())
            case _:
                answer = problem(404, f"no {request.method} {path}")
        return answer

    def _health(self) -> dict[str, Any]:
        return {
            "state": "ready",
            "api_id": self._apis[0].api_id,
            "stages": sorted(self._apis[0].stages),
            "connections": len(self._connections),
            "apis": [{"api_id": api.api_id, "name": api.name, "stages": sorted(api.stages)} for api in self._apis],
        }

    def _kill(self, connection_id: str) -> web.Response:
        connection = self._connections.get(connection_id)
        if connection is None:
            return problem(404, f"no connection {connection_id}")
        connection.kill()
        return web.Response(status=204)

    async def _post(self, connection_id: str, body: bytes) -> web.Response:
        connection = self._connections.get(connection_id)
        if connection is None:
            return problem(404, f"no connection {connection_id}")
        payload = body.decode(errors="replace").encode()
        try:
            await connection.send(payload, buffer_bytes=self._settings.buffer_bytes)
        except DeliveryError as error:
            return problem(410, type(error).__name__)
        self._reports.sent(connection.handshake, payload, "control")
        return web.Response(status=204)

    def _change(self, body: bytes) -> web.Response:
        try:
            changes = json.loads(body)
            if not isinstance(changes, dict):
                return problem(400, "the settings must be a JSON object")
            self._settings.update(changes)
        except ValueError as error:
            return problem(400, str(error))
        self._settings_changed()
        return web.json_response(dataclasses.asdict(self._settings))


def row(connection: Connection) -> dict[str, Any]:
    """Return what tools and the page see of a connection."""
    handshake = connection.handshake
    return {
        "connection_id": handshake.connection_id,
        "api_id": handshake.api_id,
        "stage": handshake.stage,
        "source_ip": handshake.source_ip,
        "connected_at": handshake.connected_at,
        "last_active_at": connection.last_active_at,
    }


def problem(status: int, message: str) -> web.Response:
    """Return an answer that says what is wrong."""
    return web.json_response({"message": message}, status=status)
