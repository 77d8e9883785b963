"""One client's connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from aiohttp import ClientConnectionResetError, WebSocketError, WSMsgType, web

from local.gateway.errors import BufferFullError, GoneError
from local.gateway.events import NO_STATUS
from local.gateway.settings import MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.gateway.events import Handshake
    from local.gateway.settings import Settings

ABNORMAL: Final = 1006
GOING_AWAY: Final = 1001
UNSUPPORTED_DATA: Final = 1003

_CLOSE_SECONDS: Final = 5.0
_NEVER_PAUSE: Final = 1 << 30


def new_websocket() -> web.WebSocketResponse:
    """A WebSocket with API Gateway's limits: no compression, and no message over 128 KB."""
    return web.WebSocketResponse(
        timeout=_CLOSE_SECONDS,
        autoclose=False,
        autoping=False,
        compress=False,
        max_msg_size=MESSAGE_BYTES + 1,  # aiohttp refuses a message of exactly this size
    )


class Connection:
    """An open WebSocket and what is known of its client.

    `closed` is None while it is open, then the close code and reason that `$disconnect` reports.
    """

    def __init__(self, handshake: Handshake, websocket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        """Take over a WebSocket whose handshake was answered."""
        # Posts are bounded by the size of the buffer (`Settings.buffer_bytes`), not by waiting for a slow client.
        transport.set_write_buffer_limits(high=_NEVER_PAUSE)
        self.handshake = handshake
        self.closed: tuple[int, str] | None = None
        self._websocket, self._transport = websocket, transport
        self._opened = self._last_active = time.monotonic()
        self._closing: asyncio.Task[bool] | None = None

    @property
    def id(self) -> str:
        """The connection id."""
        return self.handshake.connection_id

    @property
    def last_active_at(self) -> int:
        """Milliseconds since the epoch of the last traffic either way."""
        return int((time.time() - (time.monotonic() - self._last_active)) * 1000)

    def expired(self, settings: Settings, now: float) -> bool:
        """Whether the connection was idle, or open, for too long. `now` is a monotonic time."""
        return now - self._last_active >= settings.idle_timeout or now - self._opened >= settings.max_age

    async def send(self, payload: bytes, *, buffer_bytes: int) -> None:
        """Send a text message, which must be UTF-8.

        Raises:
            GoneError: the connection is closed or closing.
            BufferFullError: the client leaves more than `buffer_bytes` unread.
        """
        if self.closed is not None or self._transport.is_closing():
            raise GoneError(self.id)
        if self._transport.get_write_buffer_size() + len(payload) > buffer_bytes:
            raise BufferFullError(self.id)
        try:
            await self._websocket.send_frame(payload, WSMsgType.TEXT)
        except ClientConnectionResetError as error:
            raise GoneError(self.id) from error
        self._last_active = time.monotonic()

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close. From now on the connection is gone; the client has 5 s to answer."""
        if self.closed is None:
            self.closed = (code, reason)
            self._closing = asyncio.ensure_future(self._websocket.close(code=code, message=reason.encode()))

    def kill(self) -> None:
        """Drop the socket without a close frame, as a broken network does."""
        self._transport.abort()

    async def messages(self) -> AsyncIterator[str]:
        """The client's messages, until the connection is closed by either side."""
        while True:
            message = await self._websocket.receive()
            self._last_active = time.monotonic()
            match message.type:
                case WSMsgType.TEXT:
                    yield message.data
                case WSMsgType.PING:
                    with contextlib.suppress(ClientConnectionResetError):
                        await self._websocket.pong(message.data)
                case WSMsgType.PONG:
                    pass
                case WSMsgType.BINARY:
                    self.close(UNSUPPORTED_DATA)
                    return
                case WSMsgType.CLOSE:
                    if self.closed is None:
                        self.closed = (message.data or NO_STATUS, message.extra or "")
                        self._closing = asyncio.ensure_future(self._websocket.close(code=message.data or 1000))
                    return
                case _:  # closing, closed or broken
                    if self.closed is None:
                        broken = message.data
                        self.closed = (broken.code if isinstance(broken, WebSocketError) else ABNORMAL, "")
                    return

    async def wait_closed(self) -> None:
        """Wait until the closing handshake is done or timed out, and let go of the socket."""
        if self._closing is not None:
            await self._closing
        if self._transport.get_write_buffer_size():
            self._transport.abort()  # a client that does not read would keep the socket open for ever
