"""The gateway: one port for clients, for backends (`@connections`) and for control.

Paths, with `ws/` as the prefix of a custom domain's mapping keys:

| path | what |
| --- | --- |
| `/ws/{stage}`, `/{stage}`, `/_aws/execute-api/{apiId}/{stage}` | a client's handshake |
| `/{stage}/@connections/{id}`, `/_aws/execute-api/{apiId}/{stage}/@connections/{id}` | the management API |
| `/_gateway/…` | control |
| anything else | another server, where one is given (`fallback`); else forbidden |

It serves several APIs: a path may begin with the id or the logical id of one (`/{api}/{stage}`), or a host name may
stand for one (`WebSocketApi.hosts`). Without either, the path is that of the one API that has such a stage.

The gateway serves them only under the names of this machine and under further names that it is given (`hosts`), so that
a web page whose own name was rebound to this machine gets nothing. Clients may be pages of any origin, because a token
identifies them. Control and management refuse pages.
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

from samsocket import control, management
from samsocket.acceptor import Acceptor, listeners
from samsocket.clients import Clients
from samsocket.connection import GOING_AWAY, Connection
from samsocket.errors import AddressInUseError, StartError
from samsocket.frames import GuardedProtocol
from samsocket.origin_check import FORBIDDEN, MISDIRECTED, is_from_a_page, is_own_host
from samsocket.rates import Rates
from samsocket.settings import URL_CHARACTERS, Settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Coroutine, Sequence

    from aiohttp.web import BaseRequest

    from samsocket.api import WebSocketApi
    from samsocket.aws_names import AwsNames
    from samsocket.emulator import Emulator
    from samsocket.fallback import Fallback

_EXECUTE_API: Final = "/_aws/execute-api/"
_BACKLOG: Final = 1024
_EXPIRY_SECONDS: Final = 0.25
_SHUTDOWN_SECONDS: Final = 5.0


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
    ) -> None:
        """Bind to APIs and the emulator that runs their functions; its client, and the fallback's, must be open.

        `hosts` are names, without a port, by which it is reached beside those of this machine. `aws_names` takes what
        functions send to other services of AWS.
        """
        self._emulator, self._settings, self._fallback = emulator, settings or Settings(), fallback
        self._aws_names = aws_names
        self._connections: dict[str, Connection] = {}
        self._rates = Rates(self._settings)
        self._management: dict[str, management.Management] = {}
        self._clients: dict[str, Clients] = {}
        self._control = control.Control(self._connections, self._settings, self._rates.reset)
        self._url_prefix = "/" + url_prefix.lstrip("/")
        self._given_hosts = frozenset(
            f"[{name.strip('[]')}]" if ":" in name else name for name in map(str.lower, hosts)
        )
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

    def adopt(self, apis: Sequence[WebSocketApi]) -> None:
        """Serve APIs as their template says now; connections stay, and take their next message by its routes."""
        self._apis = tuple(apis)
        self._rates.adopt(self._apis)
        self._control.adopt(self._apis)
        for api in self._apis:
            shared = self._connections, self._emulator, self._settings
            self._management.setdefault(api.api_id, management.Management(api.api_id, *shared))
            if api.api_id in self._clients:
                self._clients[api.api_id].adopt(api)
            else:
                self._clients[api.api_id] = Clients(api, *shared, self._rates, self._spawn)
        self._by_host = {name: api for api in self._apis for name in api.hosts}
        self._by_name = {name: api for api in self._apis for name in (api.name, api.api_id) if name}
        self._hosts = self._given_hosts | self._by_host.keys()

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

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
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
        return await self._serve(request, path, query_string)

    async def _serve(self, request: BaseRequest, path: str, query_string: str) -> web.StreamResponse:
        """Answer a request that is neither control nor management: a client's, or one for the other server."""
        apis, rest = self._apis_of(request, path)
        for prefix in (self._url_prefix, "/"):
            stage = rest[len(prefix) :].removesuffix("/") if rest.startswith(prefix) else ""
            having = [api for api in apis if stage in api.stages]
            if len(having) == 1:
                lower_case = prefix == self._url_prefix and prefix != "/"
                return await self._connect(request, having[0], stage, query_string, lower_case=lower_case)
            if having:
                names = " or ".join(f"/{api.name or api.api_id}/{stage}" for api in having)
                return _turned_away(FORBIDDEN, f"several APIs have the stage {stage}: connect to {names}")
        return management.forbidden() if self._fallback is None else await self._fallback.handle(request)

    def _apis_of(self, request: BaseRequest, path: str) -> tuple[Sequence[WebSocketApi], str]:
        """Return the APIs that a request may mean, and what is left of its path."""
        host = request.headers.get("Host", "").rpartition("@")[2].lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if (api := self._by_host.get(name)) is not None:
            return (api,), path
        named = path.removeprefix(_EXECUTE_API) if path.startswith(_EXECUTE_API) else path[1:]
        first, slash, rest = named.partition("/")
        if slash and (api := self._by_name.get(first)) is not None:
            return (api,), f"/{rest}"
        return ((), path) if path.startswith(_EXECUTE_API) else (self._apis, path)

    async def _manage(self, request: BaseRequest, head: str, connection_id: str) -> web.Response:
        apis, rest = self._apis_of(request, f"{head.rstrip('/')}/")
        stage = rest.strip("/")
        having = [api for api in apis if stage in api.stages]
        if not having:
            return management.forbidden()
        if not self._rates.admits_management():
            return management.error(429, "LimitExceededException", "Too Many Requests")
        if "Expect" in request.headers and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection = self._connections.get(connection_id)
        # Ids are unique, so that it does not matter which of several APIs with such a stage the caller means.
        api = next((api for api in having if connection and connection.handshake.api_id == api.api_id), having[0])
        emulated = head.startswith(_EXECUTE_API)
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


def _turned_away(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
