"""One port for plain HTTP and for TLS: the first byte of a connection decides."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TLS: Final = b"\x16"
"""The first byte of a handshake record. Source: RFC 8446, section 5.1."""

_SECONDS: Final = 60.0
"""How long a client may say nothing, and how long a TLS handshake may take."""


class Acceptor:
    """Accepts connections; takes the place of the server that asyncio makes."""

    def __init__(
        self, listeners: list[socket.socket], factory: Callable[[], asyncio.Protocol], tls: ssl.SSLContext
    ) -> None:
        """Take over sockets that listen."""
        self.sockets = listeners
        self._factory, self._tls = factory, tls
        self._tasks = {asyncio.create_task(self._accept(listener)) for listener in listeners}
        self._opening: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Accept no more."""
        for task in {*self._tasks, *self._opening}:
            task.cancel()
        for listener in self.sockets:
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.1)  # no file descriptor is left
                continue
            task = asyncio.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = await asyncio.wait_for(_first_byte(connection), _SECONDS)
            await loop.connect_accepted_socket(
                self._factory,
                connection,
                ssl=self._tls if first == _TLS else None,
                ssl_handshake_timeout=_SECONDS if first == _TLS else None,
            )
        except (OSError, TimeoutError, ssl.SSLError):
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise


async def _first_byte(connection: socket.socket) -> bytes:
    """Wait for the first byte, and leave it where it is."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            return connection.recv(1, socket.MSG_PEEK)
        readable = asyncio.Event()
        loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(connection)


def listeners(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Open a socket that listens.

    Raises:
        OSError: the address is taken, or cannot be used.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
        listener.setblocking(False)  # noqa: FBT003
    except OSError:
        listener.close()
        raise
    return [listener]
