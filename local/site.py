"""The page of the embedded stack, and its requests to the stack: for a token, and to put an event on the bus.

| request | body | answer |
| --- | --- | --- |
| `GET /`, `GET /{file}` | | the page, a file of the folder `page` |
| `GET /client/{file}` | | a module of the TypeScript client, as it is in its folder |
| `POST /_local/token` | `{"user", "username", "role"}`, the last two optional | `{"token"}` |
| `POST /_local/events` | `{"type", "detail"}` | `{"event_id"}` |
| `POST /_local/flow` | `{"after"}`, the `last` of an earlier answer, optional | `{"last", "lines"}` (`flow.py`) |

It listens on loopback, behind the gateway (`--fallback`), and is never deployed. The secret that signs tokens stays in
this server. The page alone may send these requests: another site's page has another `Origin`, and a page whose name was
rebound to this machine has another `Host` (`samsocket/origin_check.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError

from local.flow import Flow
from operate import tokens
from operate.errors import CommandError
from operate.state import ROOT
from samsocket.origin_check import FORBIDDEN, MISDIRECTED, is_own_host

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from operate.deployment import Deployment

PAGE: Final = Path(__file__).parent / "page"
CLIENT: Final = ROOT / "clients" / "typescript" / "src"
SOURCE: Final = "realtime-page"
_SHUTDOWN_SECONDS: Final = 2.0
"""Seconds that an open request has to be answered after the stack begins to end."""
LOOPBACK: Final = "127.0.0.1"

# Not from the machine's own tables: a browser might not run a module with the type that they give it.
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    # connect-src: Safari's 'self' leaves WebSockets out; with wss: the page can use a stack in the cloud.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self' ws://localhost:* ws://127.0.0.1:* wss:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the next stack on this port may be of another version
}


@asynccontextmanager
async def serving(deployment: Deployment, port: int, folder: Path = PAGE) -> AsyncIterator[str]:
    """Serve the page of a stack whose gateway is on `port` while the context is open; gives the URL to forward to."""
    site = Site(deployment, port, folder)
    runner = web.AppRunner(site.application(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        listening = web.TCPSite(runner, LOOPBACK, 0)
        await listening.start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        site.close()


class Site:
    """Serves the page and answers its requests, for one stack."""

    def __init__(self, deployment: Deployment, port: int, folder: Path) -> None:
        """Take the stack, the gateway's port, and the folder of the page's files."""
        self._deployment = deployment
        # The files that exist now and no others, so that no path can leave the folder.
        self._files = {
            f"{at}{path.name}": path
            for at, source in (("/", folder), ("/client/", CLIENT))
            for path in source.iterdir()
            if path.suffix in _KINDS
        }
        self._files["/"] = folder / "index.html"
        self._url = f"http://localhost:{port}/"
        # One thread: botocore's sessions are not thread-safe, and events stay in the order of the clicks.
        self._aws = ThreadPoolExecutor(1, "site")
        self._logs = ThreadPoolExecutor(1, "flow")  # of its own: nobody waits for logs to get a token
        self._flow = Flow(deployment.log_reader)

    def application(self) -> web.Application:
        """Return the application with its routes."""
        application = web.Application(middlewares=[self._guard])
        application.router.add_post("/_local/token", self._token)
        application.router.add_post("/_local/events", self._publish)
        application.router.add_post("/_local/flow", self._show_flow)
        application.router.add_get("/{path:.*}", self._file)
        return application

    def close(self) -> None:
        """Refuse new calls from now on."""
        for threads in (self._aws, self._logs):
            threads.shutdown(wait=False, cancel_futures=True)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Accept the requests of our own page alone, in the form in which it sends them."""
        if not is_own_host(request.headers.getall("Host", [])):
            return _problem(MISDIRECTED, f"this is the page of a stack on this machine; open {self._url}")
        if request.method == "POST":
            if request.headers.get("Origin") != f"http://{request.headers['Host']}":
                return _problem(FORBIDDEN, "only the stack's own page may ask this")
            if request.content_type != "application/json":  # which no form of another site can send
                return _problem(415, "send application/json")
        return await handler(request)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.path)
        if file is None:
            return _problem(404, f"no {request.path}")
        return web.FileResponse(file, headers={**_HEADERS, "Content-Type": _KINDS[file.suffix]})

    async def _token(self, request: web.Request) -> web.Response:
        asked = await _json(request)
        user, username, role = (asked.get(name) for name in ("user", "username", "role"))
        if not isinstance(user, str) or not user:
            return _problem(400, "user: must be a string, not empty")
        if not all(value is None or isinstance(value, str) for value in (username, role)):
            return _problem(400, "username, role: must be strings, where given")
        return await self._answer(
            lambda: {"token": tokens.sign(self._deployment.token_keys(), user, username=username, role=role)}
        )

    async def _publish(self, request: web.Request) -> web.Response:
        asked = await _json(request)
        kind, detail = asked.get("type"), asked.get("detail")
        if not isinstance(kind, str) or not kind or not isinstance(detail, dict):
            return _problem(400, "type: must be a string, not empty; detail: an object")
        return await self._answer(
            lambda: {"event_id": self._deployment.publish(kind, json.dumps(detail, ensure_ascii=False), SOURCE)}
        )

    async def _show_flow(self, request: web.Request) -> web.Response:
        after = (await _json(request)).get("after")
        if after is not None and (not isinstance(after, int) or isinstance(after, bool)):
            return _problem(400, "after: must be a number from an earlier answer, or left out")
        return await self._answer(lambda: self._flow.after(after), self._logs)

    async def _answer(
        self, ask: Callable[[], dict[str, Any]], threads: ThreadPoolExecutor | None = None
    ) -> web.Response:
        """The stack's answer, or the reason why there is none."""
        try:
            answer = await asyncio.get_running_loop().run_in_executor(threads or self._aws, ask)
        except (CommandError, BotoCoreError, ClientError) as error:
            return _problem(502, str(error))
        return web.json_response(answer, headers={"Cache-Control": "no-store"})


async def _json(request: web.Request) -> dict[str, Any]:
    """Return a body that is a JSON object."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text=json.dumps({"message": "not a JSON object"}), content_type="application/json")
    return body


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
