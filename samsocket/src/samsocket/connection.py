"""One client's connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from aiohttp import ClientConnectionResetError, WebSocketError, WSMsgType, web

from samsocket.errors import BufferFullError, GoneError
from samsocket.events import NO_STATUS
from samsocket.frames import PROTOCOL_ERROR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from samsocket.events import Handshake
    from samsocket.settings import Settings

ABNORMAL: Final = 1006
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
UNSUPPORTED_DATA: Final = 1003

_CLOSE_SECONDS: Final = 5.0
_NEVER_PAUSE: Final = 1 << 30


def new_websocket(settings: Settings) -> web.WebSocketResponse:
    """A WebSocket that `Connection` closes. The frame guard enforces its limits, except on what is decompressed."""
    return web.WebSocketResponse(
        autoclose=False, autoping=False, compress=settings.compression, max_msg_size=settings.message_bytes + 1
    )


def expired(*, opened: float, last_active: float, now: float, settings: Settings) -> bool:
    """Return whether a connection was idle, or open, for too long. Times are monotonic."""
    return now - last_active >= settings.idle_timeout or now - opened >= settings.max_age


async def go_away(connections: Iterable[Connection]) -> None:
    """Close connections by the gateway's own decision."""
    for connection in list(connections):
        await connection.close(GOING_AWAY, "Going away")


class Connection:
    """An open WebSocket, and the facts about its client.

    It does the closing handshake itself, because aiohttp closes the socket without waiting for the client's answer.
    """

    def __init__(self, handshake: Handshake, websocket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        """Take over a WebSocket whose handshake was answered."""
        # Posts are bounded by the size of the buffer (`Settings.buffer_bytes`), not by waiting for a slow client.
        transport.set_write_buffer_limits(high=_NEVER_PAUSE)
        self.handshake = handshake
        self._websocket, self._transport = websocket, transport
        self._opened = self._last_active = time.monotonic()
        self._epoch = time.time() - self._opened
        self._ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    @property
    def id(self) -> str:
        """Return the connection id."""
        return self.handshake.connection_id

    @property
    def stage(self) -> tuple[str, str]:
        """Return the id of the API and the stage that it belongs to."""
        return self.handshake.api_id, self.handshake.stage

    @property
    def is_open(self) -> bool:
        """Return whether neither side has begun to close."""
        return not self._ended.done()

    @property
    def last_active_at(self) -> int:
        """Time of the last message either way, in milliseconds since the epoch. Pings and pongs do not count."""
        return int((self._epoch + self._last_active) * 1000)

    def expired(self, settings: Settings, now: float) -> bool:
        """Return whether the connection was idle, or open, for too long. `now` is a monotonic time."""
        return expired(opened=self._opened, last_active=self._last_active, now=now, settings=settings)

    async def ended(self) -> tuple[int, str]:
        """Wait for the end, and return the close code and reason that `$disconnect` reports."""
        return await asyncio.shield(self._ended)

    async def send(self, payload: bytes, *, buffer_bytes: int) -> None:
        """Send a text message, which must be UTF-8.

        Raises:
            GoneError: the connection is closed or closing.
            BufferFullError: the client leaves more than `buffer_bytes` unread.
        """
        if not self.is_open or self._transport.is_closing():
            raise GoneError(self.id)
        if self._transport.get_write_buffer_size() + len(payload) > buffer_bytes:
            raise BufferFullError(self.id)
        try:
            await self._websocket.send_frame(payload, WSMsgType.TEXT)
        except ClientConnectionResetError as error:
            raise GoneError(self.id) from error
        self._last_active = time.monotonic()

    async def close(self, code: int, reason: str = "") -> None:
        """Send a close frame. From now on the connection is gone."""
        if self.is_open:
            self._ended.set_result((code, reason))
            await self._send_close(code, reason)

    def lost(self) -> None:
        """Note that the client will send nothing more."""
        if self.is_open:
            self._ended.set_result((ABNORMAL, ""))

    def kill(self) -> None:
        """Drop the socket without a close frame, as a broken network does."""
        self._transport.abort()

    async def messages(self) -> AsyncIterator[str]:
        """Yield the client's messages until both sides have closed or the socket is broken."""
        while True:
            message = await self._websocket.receive()
            match message.type:
                case WSMsgType.TEXT if self.is_open:
                    self._last_active = time.monotonic()
                    yield message.data
                case WSMsgType.BINARY:
                    await self.close(UNSUPPORTED_DATA)
                case WSMsgType.PING if self.is_open:
                    with contextlib.suppress(ClientConnectionResetError):
                        await self._websocket.pong(message.data)
                case WSMsgType.TEXT | WSMsgType.PING | WSMsgType.PONG:
                    pass
                case WSMsgType.CLOSE:
                    if message.data == ABNORMAL:  # aiohttp takes this code, which no close frame may have
                        await self.close(PROTOCOL_ERROR)
                    if self.is_open:
                        self._ended.set_result((message.data or NO_STATUS, message.extra or ""))
                        await self._send_close(message.data)
                    return
                case WSMsgType.ERROR if isinstance(message.data, WebSocketError) and self.is_open:
                    self._ended.set_result((message.data.code, ""))  # a breach of the protocol, which aiohttp closed
                    return
                case _:
                    self.lost()
                    return

    async def hang_up(self, reading: asyncio.Task[None]) -> None:
        """Close the socket once the client has answered the close frame, or after 5 s.

        `reading` is the task that takes the messages.
        """
        await asyncio.wait({reading}, timeout=_CLOSE_SECONDS)
        # A transport of TLS that is closed cannot tell its buffer's size.
        if not reading.done() or (not self._transport.is_closing() and self._transport.get_write_buffer_size()):
            reading.cancel()
            self._transport.abort()  # a client that does not read would keep the socket open for ever
        else:
            self._transport.close()

    async def _send_close(self, code: int, reason: str = "") -> None:
        payload = code.to_bytes(2, "big") + reason.encode() if code else b""
        with contextlib.suppress(ClientConnectionResetError):
            await self._websocket.send_frame(payload, WSMsgType.CLOSE)
