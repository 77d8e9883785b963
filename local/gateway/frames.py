"""The limit on the size of a single WebSocket frame, which aiohttp does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from local.gateway.settings import FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

# The head of a frame that says it carries 4 EiB: aiohttp closes the connection with 1009 before it reads on.
_TOO_BIG: Final = b"\x82\x7f" + (1 << 62).to_bytes(8, "big")
_LENGTH_BYTES: Final = {126: 2, 127: 8}


class FrameGuard:
    """Stands before aiohttp's WebSocket parser, reads the heads of the frames, and stops at one that is too large.

    Frames are passed on unchanged; a head is passed on once it is complete. Of a frame over the limit the parser sees a
    head that makes it close with 1009, and nothing after it.
    """

    def __init__(self, parser: Any, limit: int = FRAME_BYTES) -> None:
        """Guard a parser; `limit` is in bytes of payload."""
        self._parser, self._limit = parser, limit
        self._head = b""
        self._payload = 0
        self._stopped = False

    def feed_data(self, data: bytes | bytearray | memoryview) -> tuple[bool, bytes]:
        """Take what the socket received, and pass on what may pass."""
        if self._stopped:
            return False, b""
        allowed = self._scan(bytes(data))
        result: tuple[bool, bytes] = self._parser.feed_data(allowed) if allowed else (False, b"")
        return result

    def feed_eof(self) -> None:
        """The socket is closed."""
        self._parser.feed_eof()

    def _scan(self, data: bytes) -> bytes:
        """The part of the data that may pass, beginning with a head held back from before."""
        data, self._head = self._head + data, b""
        position, size = 0, len(data)
        while position < size:
            if self._payload:
                step = min(self._payload, size - position)
                self._payload -= step
                position += step
                continue
            if size - position < 2:
                break
            flag = data[position + 1] & 0x7F
            extra = _LENGTH_BYTES.get(flag, 0)
            if size - position < 2 + extra:
                break
            length = int.from_bytes(data[position + 2 : position + 2 + extra], "big") if extra else flag
            if length > self._limit:
                self._stopped = True
                return data[:position] + _TOO_BIG
            self._payload = length + (4 if data[position + 1] & 0x80 else 0)  # the mask is passed on like payload
            position += 2 + extra
        self._head = data[position:]
        return data[:position]


class GuardedProtocol(web.RequestHandler):
    """aiohttp's server protocol, with a guard before the WebSocket parser."""

    __slots__ = ()

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """Called by `WebSocketResponse` once the handshake is answered."""
        guard: Any = FrameGuard(parser)
        super().set_parser(guard, data_received_cb)
