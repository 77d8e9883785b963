"""A management API on loopback that answers by a script, and records its requests.

Each connection id has a script: one step for each of its requests, in order. After the last step, all requests succeed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from harness.account import Account
from harness.serving import Serving


class Trouble(Enum):
    """A failure that a request may meet instead of an answer."""

    HANG = "no answer, ever"
    RESET = "the connection is reset"
    HALF_STATUS = "the answer breaks off in its status, and the connection hangs"
    SLOW_BODY = "a 200 whose body never ends"
    SLOW_ERROR = "a 500 whose body never ends"


Step = int | Trouble


@dataclass(frozen=True)
class Request:
    """A request that was made."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: int  # which connection it came by
    step: Step  # what it met

    @property
    def connection_id(self) -> str:
        """Return the id at the path's end."""
        return unquote(self.path.rpartition("/")[2])

    @property
    def stage(self) -> str:
        """Return the stage, the part before `@connections`."""
        return self.path.split("/")[-3]


class FakeApi(Serving):
    """The server."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__("fake management API")
        self.requests: list[Request] = []
        self.scripts: dict[str, deque[Step]] = defaultdict(deque)
        self.default: Step = 200
        self.account: Account | None = None  # whose bucket requests take from, if it is to have one
        self.texts: dict[int, bytes] = {}
        self.peers = 0
        self.most_at_once = 0
        self._at_once = 0
        self._open = asyncio.Event()
        self._open.set()
        self._tls = tls
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the endpoint's URL, without a stage."""
        return f"{'https' if self._tls else 'http'}://localhost:{self._port}"

    def script(self, connection_id: str, steps: Iterable[Step]) -> None:
        """Make the next requests for a connection meet these steps."""
        self.scripts[connection_id].extend(steps)

    def bodies(self, connection_id: str, *, accepted: bool = True) -> list[bytes]:
        """Return the bodies posted to a connection, in order: those that were accepted, or all."""
        steps = (200, Trouble.SLOW_BODY)
        return [
            each.body
            for each in self.requests
            if each.connection_id == connection_id and each.method == "POST" and (each.step in steps or not accepted)
        ]

    def hold(self) -> None:
        """Hold back all answers until `release`."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def release(self) -> None:
        """Send the held answers, and answer all later requests."""
        self._loop.call_soon_threadsafe(self._open.set)

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls, backlog=1024)

    async def _end(self) -> None:
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = self._loop.create_task(self._converse(reader, writer))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers += 1
        peer = self.peers
        try:
            while await self._exchange(reader, writer, peer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has hung up
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: int) -> bool:
        """Answer one request; return whether the connection lives."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        script = self.scripts.get(unquote(path.rpartition("/")[2]))
        step = script.popleft() if script else self.default
        if self.account is not None and not self.account.take():
            step = 429
        self.requests.append(Request(method, path, headers, body, peer, step))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._open.wait()
            return await self._meet(step, method, reader, writer)
        finally:
            self._at_once -= 1

    async def _meet(self, step: Step, method: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if isinstance(step, int):
            text = self.texts.get(step, b"" if step == 200 else b'{"message":"scripted"}')
            status = 204 if step == 200 and method == "DELETE" else step
            length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(text)
            writer.write(b"HTTP/1.1 %d Scripted\r\n%s\r\n%s" % (status, length, text))
            await writer.drain()
            return True
        if step is Trouble.RESET:
            linger = struct.pack("ii", 1, 0)  # no time to send what is left: a reset instead of an end
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        if step is Trouble.HALF_STATUS:
            writer.write(b"HTTP/1.1 2")
        elif step is not Trouble.HANG:
            status = 200 if step is Trouble.SLOW_BODY else 500
            writer.write(b"HTTP/1.1 %d Scripted\r\nContent-Length: 100\r\n\r\n{" % status)
        await reader.read()  # until the client hangs up
        return False
