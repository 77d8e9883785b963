"""Lambda's runtime API: where the processes of functions take their events and report what became of them.

| request, below `/{worker}/2018-06-01/runtime` | |
| --- | --- |
| `GET /invocation/next` | waits for an event |
| `POST /invocation/{id}/response`, `POST /invocation/{id}/error` | its result |
| `POST /init/error` | the function cannot be loaded |

`POST /invoke/{secret}/{function}` invokes a function for the emulator, whose streams, queues and rules have targets.

A worker's name and the secret cannot be guessed, so no web page reaches anything here.
Source: docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from typing import TYPE_CHECKING, Final

from aiohttp import web

from samsocket.errors import FunctionFailedError, IntegrationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from samsocket.functions.worker import Worker

_MOST_BYTES: Final = 20 * 1024 * 1024
_GONE: Final = 410


class Invocation:
    """An event on its way to a function; `deadline` in seconds since the epoch."""

    def __init__(self, payload: bytes, arn: str, deadline: float) -> None:
        """Give it an id of its own."""
        self.request_id = str(uuid.uuid4())
        self.payload, self.arn, self.deadline = payload, arn, deadline
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class RuntimeApi:
    """Serves the runtime API of all workers on one port of the loopback address."""

    def __init__(self, workers: Mapping[str, Worker], invoke: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        """Take the workers by their names, and what invokes a function."""
        self._workers, self._invoke = workers, invoke
        self._secret = secrets.token_urlsafe(24)
        self._port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        application = web.Application(client_max_size=_MOST_BYTES)
        below = "/{worker}/2018-06-01/runtime"
        application.router.add_get(f"{below}/invocation/next", self._next)
        application.router.add_post(f"{below}/invocation/{{id}}/{{kind:response|error}}", self._answered)
        application.router.add_post(f"{below}/init/error", self._not_loaded)
        application.router.add_post(f"/invoke/{self._secret}/{{function}}", self._invoked)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._port}"

    @property
    def invoke_url(self) -> str:
        """Where the emulator invokes functions."""
        return f"http://{self.address}/invoke/{self._secret}"

    async def _next(self, request: web.Request) -> web.Response:
        worker = self._workers.get(request.match_info["worker"])
        if worker is None:
            return web.Response(status=_GONE)
        if not worker.ready.done():
            worker.ready.set_result(None)
        invocation = await worker.invocations.get()
        if invocation is None:
            return web.Response(status=_GONE)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-00000000-{secrets.token_hex(12)};Sampled=0",
        }
        return web.Response(body=invocation.payload, headers=headers, content_type="application/json")

    async def _answered(self, request: web.Request) -> web.Response:
        worker = self._workers.get(request.match_info["worker"])
        invocation = worker.current if worker is not None else None
        if worker is None or invocation is None or invocation.request_id != request.match_info["id"]:
            return web.Response(status=_GONE)
        body = await request.read()
        if not invocation.answer.done():
            if request.match_info["kind"] == "response":
                invocation.answer.set_result(body)
            else:
                invocation.answer.set_exception(FunctionFailedError(f"{worker.spec.logical_id}: {_short(body)}"))
        return web.json_response({"status": "OK"}, status=202)

    async def _not_loaded(self, request: web.Request) -> web.Response:
        worker = self._workers.get(request.match_info["worker"])
        report = _short(await request.read())
        if worker is not None:
            worker.failed(f"{worker.spec.logical_id}: {report}")
        return web.json_response({"status": "OK"}, status=202)

    async def _invoked(self, request: web.Request) -> web.Response:
        try:
            answer = await self._invoke(request.match_info["function"], await request.read())
        except IntegrationError as error:
            return web.Response(status=500, text=json.dumps({"failed": str(error)}), content_type="application/json")
        return web.Response(body=answer, content_type="application/json")


def _short(report: bytes) -> str:
    """Return an error's report without the trace, which the function's log has."""
    try:
        return json.dumps({name: value for name, value in json.loads(report).items() if not name.endswith("race")})
    except (ValueError, AttributeError):
        return report[:500].decode(errors="replace")
