"""A WebSocket server that does what a test says, down to the byte: it plays the service for both clients."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

Plan = Literal["accept", "hold"] | int
"""What becomes of a handshake: it is accepted, it is never answered, or it is refused with a status."""

WITHIN = 20.0
"""Seconds that any wait may take."""


async def until(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    try:
        async with asyncio.timeout(WITHIN):
            while not holds():  # noqa: ASYNC110  # what is awaited happens in a socket of another process
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never: {what()}") from None


class Connection:
    """One TCP connection of a client. `frames` is what it has sent, `closed` whether it is over, at either side."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._protocol = ServerProtocol(select_subprotocol=_select, max_size=None)
        self._bytes_left: int | None = None
        self.frames: list[dict[str, Any]] = []
        self.told = 0
        self.closed = False
        self.is_frozen = False
        self.request: Request | None = None

    @property
    def path(self) -> str:
        """The path that the client asked for."""
        assert self.request is not None
        return urlsplit(self.request.path).path

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the URL."""
        assert self.request is not None
        return {name: values[0] for name, values in parse_qs(urlsplit(self.request.path).query).items()}

    @property
    def token(self) -> str:
        """The token, wherever the client has put it, except into the URL."""
        assert self.request is not None
        headers = self.request.headers
        if (given := headers.get("Authorization")) is not None:
            return given.removeprefix("Bearer ")
        return headers["Sec-WebSocket-Protocol"].split(",")[1].strip()

    @property
    def sent(self) -> list[str]:
        """The types of what the client has sent."""
        return [frame["type"] for frame in self.frames]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of what the client has sent of one type."""
        return [frame["data"] for frame in self.frames if frame["type"] == kind]

    async def hears(self, kind: str, times: int = 1) -> dict[str, Any]:
        """Wait until the client has sent a type so often; returns the data of the last."""
        await until(lambda: len(self.of(kind)) >= times, lambda: f"{times} × {kind}; sent were {self.frames}")
        return self.of(kind)[times - 1]

    async def ends(self) -> None:
        """Wait until the connection is over."""
        await until(lambda: self.closed, lambda: f"the end of a connection that sent {self.sent}")

    def says(self, *messages: Any) -> None:
        """Send a frame for each: a text as it is, anything else as JSON."""
        for each in messages:
            text = each if isinstance(each, str) else json.dumps(each)
            if self._protocol.state is State.OPEN:
                self._protocol.send_text(text.encode())
                self.told += 1
        self._flush()

    def splits(self, message: Any) -> None:
        """Send a message in fragments, and each byte of them alone."""
        if self._protocol.state is not State.OPEN:
            return
        encoded = json.dumps(message).encode()
        for at in range(0, len(encoded), 7):
            last = at + 7 >= len(encoded)
            frame = Frame(Opcode.CONT if at else Opcode.TEXT, encoded[at : at + 7], fin=last)
            for byte in frame.serialize(mask=False):
                self._write(bytes([byte]))
        self.told += 1

    def closes(self, code: int | None) -> None:
        """End the connection with a close frame; None has no code in it."""
        if code is None:
            self._writer.write(Frame(Opcode.CLOSE, b"").serialize(mask=False))
            self._writer.close()
            return
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code)
            self._flush()

    def cuts_after(self, count: int) -> None:
        """Reset the TCP connection as soon as so many more bytes have been sent."""
        self._bytes_left = count

    def drops(self) -> None:
        """Reset the TCP connection."""
        self.closed = True
        self._writer.transport.abort()

    def freezes(self) -> None:
        """Leave the line half-open: nothing is read or sent any more, and nobody is told."""
        self.is_frozen = True

    def answers(self, plan: Plan) -> None:
        """Answer the handshake."""
        assert self.request is not None
        if plan == "hold":
            return
        if plan == "accept":
            self._protocol.send_response(self._protocol.accept(self.request))
        else:
            self._protocol.send_response(self._protocol.reject(HTTPStatus(plan), "refused"))
        self._flush()

    def _flush(self) -> None:
        for chunk in self._protocol.data_to_send():
            if chunk:
                self._write(chunk)
            elif not self.is_frozen and not self.closed:  # the protocol's sign for the end
                with suppress(OSError, RuntimeError):
                    self._writer.write_eof()

    def _write(self, chunk: bytes) -> None:
        if self.is_frozen or self.closed:
            return
        left = self._bytes_left
        if left is None or left >= len(chunk):
            self._writer.write(chunk)
            self._bytes_left = None if left is None else left - len(chunk)
        else:
            self._writer.write(chunk[:left])
            self.closed = True
            self._writer.close()

    async def serve(self, reader: asyncio.StreamReader, requested: Callable[[Connection], None]) -> None:
        """Read until the end; `requested` is called once the handshake has come."""
        try:
            while data := await reader.read(65536):
                if self.is_frozen:
                    continue
                self._protocol.receive_data(data)
                for event in self._protocol.events_received():
                    if isinstance(event, Request):
                        self.request = event
                        requested(self)
                    elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                        self.frames.append(json.loads(bytes(event.data)))
                self._flush()
        except OSError:
            pass
        finally:
            self.closed = True
            self._writer.close()


def _select(_protocol: ServerProtocol, offered: Any) -> Subprotocol | None:
    return Subprotocol("bearer") if "bearer" in offered else None


class Server:
    """The server. `plans` are for the handshakes to come; those after them are accepted."""

    def __init__(self) -> None:
        self.plans: deque[Plan] = deque()
        self.connections: list[Connection] = []  # in the order of their handshakes
        self.is_listening = True
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def _requested(self, connection: Connection) -> None:
        self.connections.append(connection)
        connection.answers(self.plans.popleft() if self.plans else "accept")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(writer).serve(reader, self._requested)

    async def connection(self, number: int) -> Connection:
        """Wait for a connection, by the number of its handshake."""
        await until(lambda: len(self.connections) > number, lambda: f"connection {number}")
        return self.connections[number]

    @classmethod
    @asynccontextmanager
    async def run(cls) -> AsyncIterator[Server]:
        """Serve on a port of its own."""
        server = cls()
        listening = await asyncio.start_server(server._serve, "127.0.0.1", 0)
        server.url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/ws"
        try:
            yield server
        finally:
            listening.close()
            for connection in server.connections:
                connection.drops()
            await until(lambda: all(each.closed for each in server.connections), lambda: "the end of all connections")
            await asyncio.sleep(0)
