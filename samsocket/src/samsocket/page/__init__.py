"""The page of a gateway: live connections, routes, frames each way, and what functions print and how they fail.

| request | answer |
| --- | --- |
| `GET /`, where no other server is given; `GET /_gateway/page/` | the page |
| `GET /_gateway/page/{file}` | a file of this folder |
| `GET /_gateway/page/apis` | APIs with their routes |
| `GET /_gateway/page/connections` | each stage with its number of connections, and the youngest hundred |
| `GET /_gateway/page/activity?after={last}` | what happened since an answer whose `last` that is; waits for it |

Frames are private. So the page's requests are answered only if they come from this machine, from no other site's page
(`origin_check`), and with a header that a browser lets another origin send only after it has asked, which is refused.
The page itself holds nothing private. It only reads: control refuses every page.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from aiohttp import web

from samsocket.control import row
from samsocket.origin_check import FORBIDDEN, is_from_a_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.web import BaseRequest

    from samsocket.activity import Activity
    from samsocket.addresses import Addresses
    from samsocket.api import Integration, Route, WebSocketApi
    from samsocket.connection import Connection

PREFIX: Final = "/_gateway/page/"
HEADER: Final = "X-Samsocket-Page"
_WAIT_SECONDS: Final = 20.0
_CONNECTIONS: Final = 100

_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """Serves the page, and what it reads."""

    def __init__(self, activity: Activity, addresses: Addresses, connections: Mapping[str, Connection]) -> None:
        """Take what it shows; its files are read now."""
        self._activity, self._addresses, self._connections = activity, addresses, connections
        self._apis: Sequence[WebSocketApi] = ()
        self._files = {
            path.name: (path.read_bytes(), _KINDS[path.suffix])
            for path in Path(__file__).parent.iterdir()
            if path.suffix in _KINDS
        }
        self._files[""] = self._files["index.html"]

    def adopt(self, apis: Sequence[WebSocketApi]) -> None:
        """Take the APIs as their template says now."""
        self._apis = apis
        self._activity.add("adopted")

    async def handle(self, request: BaseRequest, name: str, query_string: str = "") -> web.Response:
        """Answer a request for a path below `PREFIX`."""
        if request.method not in ("GET", "HEAD"):
            return _problem(405, "the page only reads")
        if name in self._files:
            body, kind = self._files[name]
            return web.Response(body=body, headers={**_HEADERS, "Content-Type": kind})
        if not _may_read(request):
            return _problem(FORBIDDEN, "only the gateway's own page, in a browser on this machine, may ask this")
        answer = await self._answer(name, query_string)
        return _problem(404, f"no {PREFIX}{name}") if answer is None else _json(answer)

    async def _answer(self, name: str, query_string: str) -> Any:
        match name:
            case "apis":
                return [_description(api) for api in self._apis]
            case "connections":
                return self._stages()
            case "activity":
                cursor = parse_qs(query_string).get("after", [""])[-1]
                return await self._activity.after(cursor, seconds=_WAIT_SECONDS)
        return None

    def _stages(self) -> list[dict[str, Any]]:
        found: dict[tuple[str, str], list[Connection]] = {}
        for connection in self._connections.values():
            found.setdefault((connection.handshake.api_id, connection.handshake.stage), []).append(connection)
        return [
            {
                "name": api.name or api.api_id,
                "stage": stage,
                "path": self._addresses.path_of(api, stage),
                "open": len(having := found.get((api.api_id, stage), [])),
                "connections": [row(connection) for connection in having[: -_CONNECTIONS - 1 : -1]],
            }
            for api in self._apis
            for stage in sorted(api.stages)
        ]


def _description(api: WebSocketApi) -> dict[str, Any]:
    return {
        "name": api.name or api.api_id,
        "selection": api.selection_expression,
        "routes": [_route(route) for _, route in sorted(api.routes.items())],
        "notes": api.notes,
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "key": route.key,
        "kind": route.integration.kind or "none",
        "target": _target(route.integration),
        "answers": route.two_way,
        "authorization": route.authorization,
        "api_key": route.api_key_required,
        "problem": route.integration.problem,
    }


def _target(integration: Integration) -> str:
    """Return the name of the function, or where else a request goes."""
    function = integration.function
    if function is None:
        return integration.uri
    return function.split(":", 6)[-1] if function.startswith("arn:") else function


def _may_read(request: BaseRequest) -> bool:
    try:
        is_near = ip_address((request.remote or "").removeprefix("::ffff:")).is_loopback
    except ValueError:
        is_near = False
    return is_near and HEADER in request.headers and not is_from_a_page(request.headers)


def _json(answer: Any) -> web.Response:
    return web.json_response(answer, headers=_HEADERS, dumps=_compact)


def _compact(answer: Any) -> str:
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False)


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status, headers=_HEADERS)
