"""A client with one connection."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from operate.verify.lines import FailedError

Message = dict[str, Any]
Predicate = Callable[[Message], bool]


class ClosedError(FailedError):
    """The connection ended before an expected message came."""

    def __init__(self, code: int | None, wanted: str) -> None:
        """Take the close code, and the name of the expected message."""
        super().__init__(f"the connection was closed ({code}) before {wanted} came")
        self.code = code


async def take_first(
    unread: list[Message], wanted: str | Predicate, receive_more: Callable[[], Awaitable[None]]
) -> Message:
    """Take the first message of a type, or that a predicate accepts, out of `unread`; receive more until one comes."""
    holds: Predicate = wanted if callable(wanted) else lambda message: message.get("type") == wanted
    looked_at = 0
    while True:
        for index in range(looked_at, len(unread)):
            if holds(unread[index]):
                return unread.pop(index)
        looked_at = len(unread)
        await receive_more()


class Client:
    """One connection. `unread`: messages that no `hears` has returned yet; `unreadable`: frames without JSON."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, user: str = "", connection_id: str = "") -> None:
        """Take an open socket."""
        self.socket, self.user, self.connection_id = socket, user, connection_id
        self.unread: list[Message] = []
        self.unreadable: list[str] = []
        self.frames = 0

    async def send(self, kind: str, **data: Any) -> None:
        """Send a frame of a type."""
        await self.socket.send_str(json.dumps({"type": kind, "data": data}))

    async def hears(self, wanted: str | Predicate, name: str = "") -> Message:
        """The first unread message of a type, or for which a predicate holds; the caller limits the time.

        Raises:
            ClosedError: the connection ends before.
        """
        return await take_first(self.unread, wanted, lambda: self._receive(name or str(wanted)))

    async def pings(self) -> Message:
        """Ping, and wait for the answer: all earlier posts have arrived by then."""
        await self.send("ping")
        return await self.hears("pong")

    async def closed(self) -> tuple[int | None, str]:
        """Wait until the service ends the connection; returns the close code and reason."""
        while True:
            frame = await self.socket.receive()
            if frame.type is aiohttp.WSMsgType.CLOSE:
                return frame.data, str(frame.extra or "")
            if frame.type is not aiohttp.WSMsgType.TEXT:
                return self.socket.close_code, ""
            self._take(frame.data)

    async def close(self) -> None:
        """Close the connection as a client does when it leaves."""
        await self.socket.close()

    async def _receive(self, wanted: str) -> None:
        frame = await self.socket.receive()
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise ClosedError(self.socket.close_code, wanted)
        self._take(frame.data)

    def _take(self, text: str) -> None:
        self.frames += 1
        try:
            heard = json.loads(text)
        except ValueError:
            self.unreadable.append(text)
            return
        messages = heard if isinstance(heard, list) else [heard]
        self.unread += [each for each in messages if isinstance(each, dict)]
