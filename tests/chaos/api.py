"""A management API on loopback over sockets that open, close, stall and fail by a script.

It is fast, because a run of the chaos posts thousands of frames and may take no more than a second of work for them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal
from urllib.parse import unquote

from harness.account import Account
from harness.serving import Serving


class Trouble(Enum):
    """A failure that a request may meet instead of a plain answer."""

    HANG = "no answer, and nothing done"
    HANG_AFTER = "no answer, but it was done"
    RESET = "the connection is reset, and nothing done"
    RESET_AFTER = "the connection is reset, but it was done"
    SLOW_BODY = "done, but the answer's body never ends"
    SLOW_ERROR = "a 500 whose body never ends"


Step = Literal[429, 500, 503] | Trouble
ACCOUNT_RATE, ACCOUNT_BURST = 4000, 400  # requests a second: about the rate of the engine on one processor here
FRAME_BYTES = 32 * 1024
_is_well_formed = re.compile(r"[a-z0-9-]+=").fullmatch  # the ids that the chaos makes
_DONE = (Trouble.HANG_AFTER, Trouble.RESET_AFTER, Trouble.SLOW_BODY)


@dataclass(eq=False)
class Socket:
    """One client's WebSocket connection, as the management API knows it.

    Its next requests meet `troubles`, each once; all its POSTs meet `posts_meet`, and all its DELETEs `deletes_meet`.
    After `leaves_after` frames the client is gone.
    """

    connection_id: str
    state: Literal["connecting", "open", "closed"] = "open"
    troubles: deque[Step] = field(default_factory=deque)
    posts_meet: Step | None = None
    deletes_meet: Step | None = None
    leaves_after: int | None = None
    heard: list[bytes] = field(default_factory=list, repr=False)
    closed_by_service: bool = False
    was_missed: bool = False  # a post was answered with 410

    def step(self, method: str) -> Step | None:
        """Return the trouble that a request meets, or none."""
        always = self.posts_meet if method == "POST" else self.deletes_meet
        if always is not None:
            return always
        return self.troubles.popleft() if self.troubles else None

    def perform(self, method: str, body: bytes) -> int:
        """Carry out a request, and return its status."""
        if self.state != "open":
            self.was_missed = self.was_missed or self.state == "closed"
            return 410
        if method == "GET":
            return 200
        if method == "DELETE":
            self.state, self.closed_by_service = "closed", True
            return 204
        if len(body) > FRAME_BYTES:
            self.state, self.closed_by_service = "closed", True
            return 200
        self.heard.append(body)
        if self.leaves_after is not None and len(self.heard) >= self.leaves_after:
            self.state = "closed"
        return 200


class Api(Serving):
    """The server."""

    def __init__(self) -> None:
        super().__init__("chaotic management API")
        self.sockets: dict[str, Socket] = {}
        self.forbidden: str | None = None  # a stage that may not be posted to
        self.requests = 0
        self.account = Account(ACCOUNT_RATE, ACCOUNT_BURST, time.monotonic)
        self.conversations: set[asyncio.Transport] = set()

    @property
    def url(self) -> str:
        """Return the endpoint's URL, without a stage."""
        return f"http://127.0.0.1:{self._port}"

    def answer(self, method: str, path: str, body: bytes) -> int | Trouble:
        """Return the outcome of a request."""
        self.requests += 1
        _, stage, _, connection_id = path.split("/")
        if not self.account.take():
            return 429
        if stage == self.forbidden:
            return 403
        if not _is_well_formed(unquote(connection_id)):
            return 400
        found = self.sockets.get(unquote(connection_id))
        if found is None:
            return 410
        if found.state != "open":
            return found.perform(method, body)
        step = found.step(method)
        if step is None:
            return found.perform(method, body)
        if step in _DONE:
            found.perform(method, body)
        return step

    async def _serve(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Conversation(self), "127.0.0.1", 0, backlog=1024)

    async def _end(self) -> None:
        for transport in list(self.conversations):
            transport.abort()
        await asyncio.sleep(0)


class _Conversation(asyncio.Protocol):
    """One HTTP connection; a client sends its next request when it has the answer to the last."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._api.conversations.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._api.conversations.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, end, body = self._unread.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(body) < length:
            return
        self._unread = body[length:]
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self._meet(self._api.answer(method, path, body[:length]))

    def _meet(self, step: int | Trouble) -> None:
        match step:
            case 204:
                self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            case int():
                self._transport.write(b"HTTP/1.1 %d Scripted\r\nContent-Length: 0\r\n\r\n" % step)
            case Trouble.SLOW_BODY | Trouble.SLOW_ERROR:
                status = 200 if step is Trouble.SLOW_BODY else 500
                self._transport.write(b"HTTP/1.1 %d Scripted\r\nContent-Length: 100\r\n\r\n{" % status)
            case Trouble.RESET | Trouble.RESET_AFTER:
                linger = struct.pack("ii", 1, 0)  # no time to send what is left: a reset instead of an end
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self._transport.abort()
            case Trouble.HANG | Trouble.HANG_AFTER:
                pass  # until the client hangs up
