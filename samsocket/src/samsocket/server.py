"""The gateway: one port for clients, for backends (`@connections`) and for control.

Paths, with `ws/` as the prefix of a custom domain's mapping keys:

| path | what |
| --- | --- |
| `/ws/{stage}`, `/{stage}`, `/_aws/execute-api/{apiId}/{stage}` | a client's handshake |
| `/{stage}/@connections/{id}`, `/_aws/execute-api/{apiId}/{stage}/@connections/{id}` | the management API |
| `/_gateway/…` | control, and the page that shows what happens (`page`) |
| `/` | that page, unless another server is given |
| anything else | another server, where one is given (`fallback`); else forbidden |

It serves several APIs: a path may begin with the id or the logical id of one (`/{api}/{stage}`), or a host name may
stand for one (`WebSocketApi.hosts`). Without either, the path is that of the one API that has such a stage.

The gateway serves them only under the names of this machine and under further names that it is given (`hosts`), so that
a web page whose own name was rebound to this machine gets nothing. Clients may be pages of any origin, because a token
identifies them. Control and management refuse pages, but for the gateway's own, which only reads.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

from aiohttp import web
from aiohttp.log import ws_logger

from samsocket import control, management, page
from samsocket.acceptor import Acceptor, listeners
from samsocket.addresses import EXECUTE_API, Addresses
from samsocket.clients import Clients
from samsocket.connection import Connection, go_away
from samsocket.errors import AddressInUseError, StartError
from samsocket.frames import GuardedProtocol
from samsocket.origin_check import FORBIDDEN, MISDIRECTED, is_from_a_page, is_own_host
from samsocket.rates import Rates
from samsocket.reports import Reports
from samsocket.settings import URL_CHARACTERS, Settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Coroutine, Sequence

    from aiohttp.web import BaseRequest

    from samsocket.activity import Activity
    from samsocket.api import WebSocketApi
    from samsocket.aws_names import AwsNames
    from samsocket.emulator import Emulator
    from samsocket.fallback import Fallback

_BACKLOG: Final = 1024
_EXPIRY_SECONDS: Final = (0.25, 2.0)
"""The shortest and the longest pause before the next look which connections have expired."""
_SHUTDOWN_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05


class Gateway:
    """Serves WebSocket APIs. Use it as an async context manager: it listens while the context is open."""

    def __init__(
        self,
        apis: Sequence[WebSocketApi],
        emulator: Emulator,
        settings: Settings | None = None,
        *,
        url_prefix: str = "ws/",
        fallback: Fallback | None = None,
        hosts: Collection[str] = (),
        aws_names: AwsNames | None = None,
        activity: Activity | None = None,
    ) -> None:
        """Bind to APIs and the emulator that runs their functions; its client, and the fallback's, must be open.

        `hosts` are names, without a port, by which it is reached beside those of this machine. `aws_names` takes what
        functions send to other services of AWS. With an `activity` there is a page, which shows it.
        """
        self._emulator, self._settings, self._fallback = emulator, settings or Settings(), fallback
        self._aws_names = aws_names
        self._connections: dict[str, Connection] = {}
        self._rates, self._reports = Rates(self._settings), Reports(activity)
        self._management: dict[str, management.Management] = {}
        self._clients: dict[str, Clients] = {}
        self.addresses = Addresses(url_prefix, hosts)
        self._control = control.Control(self._connections, self._settings, self._rates.reset, self._reports)
        self._page = None if activity is None else page.Page(activity, self.addresses, self._connections)
        self.adopt(apis)
        self._background: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Future[None]] = set()
        self._server: asyncio.Server | Acceptor | None = None
        self._handler: web.Server | None = None

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
            return GuardedProtocol(handler, self._settings, loop=loop, **options)

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

    def adopt(self, apis: Sequence[WebSocketApi]) -> None:
        """Serve APIs as their template says now; connections stay, unless their API or stage is gone."""
        self.addresses.adopt(apis)
        self._rates.adopt(apis)
        self._control.adopt(apis)
        if self._page is not None:
            self._page.adopt(apis)
        for api in apis:
            shared = self._connections, self._emulator, self._settings, self._reports
            self._management.setdefault(api.api_id, management.Management(api.api_id, *shared))
            if api.api_id in self._clients:
                self._clients[api.api_id].adopt(api)
            else:
                self._clients[api.api_id] = Clients(api, *shared, self._rates, self._spawn)
        served = {(api.api_id, stage) for api in apis for stage in api.stages}
        if orphaned := [each for each in self._connections.values() if each.stage not in served]:
            self._spawn(go_away(orphaned))

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
        self._reports.end()
        deadline = time.monotonic() + _SHUTDOWN_SECONDS
        await go_away(self._connections.values())
        while self._serving and time.monotonic() < deadline:
            await asyncio.wait(self._serving, timeout=_LOOK_SECONDS)  # a $connect that runs may yet open a connection
            await go_away(self._connections.values())
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._handler is not None:
            self._handler.pre_shutdown()
            await self._handler.shutdown(1)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _expire(self) -> None:
        """Close the connections that were idle or open for too long."""
        while True:
            least, most = _EXPIRY_SECONDS  # a look at 10,000 connections takes 10 ms
            await asyncio.sleep(max(least, min(most, self._settings.idle_timeout / 100, self._settings.max_age / 100)))
            now = time.monotonic()
            await go_away([each for each in self._connections.values() if each.expired(self._settings, now)])

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        """Send a request where its path leads."""
        if "Expect" in request.headers and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._aws_names is not None and self._aws_names.takes(request):
            return await self._aws_names.handle(request)
        if not is_own_host(request.headers.getall("Host", []), names=self.addresses.names):
            return control.problem(MISDIRECTED, "not a name of this gateway; `serve` takes more: --allow-host NAME")
        path, _, query_string = request.raw_path.partition("?")
        if "%" in path:
            # Most are those of posts, whose connection id ends in the path's one escape.
            path = f"{path[:-3]}=" if path.find("%") == len(path) - 3 and path.endswith("%3D") else unquote(path)
        head, found, connection_id = path.partition("/@connections/")
        if not found and not path.startswith(control.PREFIX):
            return await self._serve(request, path, query_string)
        if self._page is not None and path.startswith(page.PREFIX):
            return await self._page.handle(request, path.removeprefix(page.PREFIX), query_string)
        if is_from_a_page(request.headers):
            return control.problem(FORBIDDEN, "web pages may neither manage connections nor control the gateway")
        return await (self._manage(request, head, connection_id) if found else self._control.handle(request, path))

    async def _serve(self, request: BaseRequest, path: str, query_string: str) -> web.StreamResponse:
        """Answer a request that is neither control nor management: a client's, or one for the other server."""
        host = request.headers["Host"]
        apis, rest = self.addresses.apis_of(host, path)
        for prefix in (self.addresses.prefix, "/"):
            stage = rest[len(prefix) :].removesuffix("/") if rest.startswith(prefix) else ""
            having = [api for api in apis if stage in api.stages]
            if len(having) == 1:
                lower_case = prefix == self.addresses.prefix and prefix != "/"
                return await self._connect(request, having[0], stage, query_string, lower_case=lower_case)
            if having:
                names = " or ".join(f"/{api.name or api.api_id}/{stage}" for api in having)
                return control.problem(FORBIDDEN, f"several APIs have the stage {stage}: connect to {names}")
        if self._fallback is not None:
            return await self._fallback.handle(request)
        is_of_no_api = path == "/" and self.addresses.api_of_host(host) is None
        if self._page is not None and is_of_no_api and "Upgrade" not in request.headers:
            return await self._page.handle(request, "")
        return management.forbidden()

    async def _manage(self, request: BaseRequest, head: str, connection_id: str) -> web.StreamResponse:
        having, stage = self.addresses.managed(request.headers["Host"], head)
        if not having:
            return management.forbidden()
        if not self._rates.admits_management():
            return management.error(429, "LimitExceededException", "Too Many Requests")
        connection = self._connections.get(connection_id)
        # Ids are unique, so that it does not matter which of several APIs with such a stage the caller means.
        api = next((api for api in having if connection and connection.handshake.api_id == api.api_id), having[0])
        emulated = head.startswith(EXECUTE_API)
        return await self._management[api.api_id].handle(request, stage, connection_id, emulated=emulated)

    async def _connect(
        self, request: BaseRequest, api: WebSocketApi, stage: str, query_string: str, *, lower_case: bool
    ) -> web.StreamResponse:
        """Serve a client; the gateway waits for it when it ends."""
        served = asyncio.get_running_loop().create_future()
        self._serving.add(served)
        try:
            return await self._clients[api.api_id].connect(request, stage, query_string, lower_case=lower_case)
        finally:
            self._serving.discard(served)
            served.set_result(None)
