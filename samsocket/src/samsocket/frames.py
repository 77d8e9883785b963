"""The limits on the sizes of frames and messages from a client, and the masks that its frames must have."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from samsocket.settings import FRAME_BYTES, MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from samsocket.settings import Settings

_logger = logging.getLogger(__name__)

PROTOCOL_ERROR: Final = 1002
TOO_BIG: Final = 1009

_LENGTH_BYTES: Final = {126: 2, 127: 8}
_MASK_BYTES: Final = 4


class FrameGuard:
    """Stands before aiohttp's WebSocket parser, reads the heads of the frames, and drops what is not allowed.

    aiohttp limits messages but not frames, and at its limit it hangs up at once: a client that is still sending would
    see a broken socket in place of the close code. It takes frames without a mask, which a server must not (RFC 6455,
    5.1). So the guard reports the breach, and from then on passes on control frames alone, such as the client's answer
    to the close frame.
    """

    def __init__(self, parser: Any, *, frame_bytes: int = FRAME_BYTES, message_bytes: int = MESSAGE_BYTES) -> None:
        """Guard a parser, with the most bytes that a frame and a message may have."""
        self._parser, self._frame_bytes, self._message_bytes = parser, frame_bytes, message_bytes
        self._head = b""
        self._pending = 0  # bytes of the current frame, mask included, that are still to come
        self._message = 0  # bytes of the current message so far
        self._dropping = False
        self._breach = 0  # the close code that it leads to
        self._on_breach: Callable[[int], object] | None = None

    def on_breach(self, call: Callable[[int], object]) -> None:
        """Set the function that the guard calls once, with a close code, when something is not allowed."""
        self._on_breach = call
        if self._breach:
            call(self._breach)

    def feed_data(self, data: bytes | bytearray | memoryview) -> tuple[bool, bytes]:
        """Take what the socket received, and pass on what may pass."""
        allowed = self._scan(bytes(data))
        result: tuple[bool, bytes] = self._parser.feed_data(allowed) if allowed else (False, b"")
        return result

    def feed_eof(self) -> None:
        """The socket is closed."""
        self._parser.feed_eof()

    def _scan(self, data: bytes) -> bytes:
        """Return the parts of the data that may pass. A frame's head that is not complete is kept for the next call."""
        data, self._head = self._head + data, b""
        position, size = 0, len(data)
        kept: list[bytes] = []
        while position < size:
            start = position
            if not self._pending:
                extra = _LENGTH_BYTES.get(data[position + 1] & 0x7F, 0) if size - position > 1 else 0
                if size - position < 2 + extra:
                    self._head = data[position:]
                    break
                position += self._open(data[position : position + 2 + extra])
            step = min(self._pending, size - position)
            self._pending -= step
            position += step
            if not self._dropping:
                kept.append(data[start:position])
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def _open(self, head: bytes) -> int:
        """Begin a frame, and return the length of its head without the mask."""
        flag = head[1] & 0x7F
        length = int.from_bytes(head[2:], "big") if len(head) > 2 else flag
        control, masked = bool(head[0] & 0x08), bool(head[1] & 0x80)
        if not control:
            self._message = length if head[0] & 0x0F else self._message + length
        if not masked:
            self._report(PROTOCOL_ERROR)
        elif not control and (length > self._frame_bytes or self._message > self._message_bytes):
            self._report(TOO_BIG)
        self._dropping = bool(self._breach) and not (control and masked)
        self._pending = length + (_MASK_BYTES if masked else 0)
        return len(head)

    def _report(self, code: int) -> None:
        if not self._breach:
            self._breach = code
            if self._on_breach is not None:
                self._on_breach(code)


class GuardedProtocol(web.RequestHandler):
    """aiohttp's server protocol, with a guard before the WebSocket parser and before the log."""

    __slots__ = ("_settings", "guard")

    guard: FrameGuard

    def __init__(self, manager: web.Server, settings: Settings, **options: Any) -> None:
        """Take the server that it belongs to, and the limits on sizes."""
        super().__init__(manager, **options)
        self._settings = settings

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed, or whose handling failed."""
        if status == 500:
            return super().handle_error(request, status, exc, message)
        # aiohttp logs and sends a message that quotes the request, which may contain a token.
        _logger.warning("bad request from %s: %s", request.remote, type(exc).__name__)
        response = web.json_response({"message": "Bad Request"}, status=status)
        response.force_close()
        return response

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """Called by `WebSocketResponse` once the handshake is answered."""
        limits = self._settings
        self.guard = FrameGuard(parser, frame_bytes=limits.frame_bytes, message_bytes=limits.message_bytes)
        guarded: Any = self.guard
        super().set_parser(guarded, data_received_cb)
