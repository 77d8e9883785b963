"""RFC 6455 on raw sockets: the cases of the Autobahn test suite's groups 1 to 7, written from the RFC.

Cases of fragmentation (5), control frames (2, 3, 4), UTF-8 (6) and closing (7) must end as the RFC says. Where API
Gateway documents something else, the case says so: binary messages, and frames over 32 KB.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.gateways import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateways import FakeAws, RunningGateway

CONTINUE, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass(frozen=True)
class Frame:
    """A frame; a client's are masked, unless `masked` says otherwise."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    masked: bool = True

    def encode(self) -> bytes:
        head = bytes([(0x80 if self.fin else 0) | self.rsv << 4 | self.opcode])
        mask_bit = 0x80 if self.masked else 0
        size = len(self.payload)
        if size < 126:
            head += bytes([mask_bit | size])
        elif size < 65_536:
            head += bytes([mask_bit | 126]) + struct.pack("!H", size)
        else:
            head += bytes([mask_bit | 127]) + struct.pack("!Q", size)
        if not self.masked:
            return head + self.payload
        mask = os.urandom(4)
        return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(self.payload))


def text(payload: str | bytes, **options: bool | int) -> Frame:
    return Frame(TEXT, payload.encode() if isinstance(payload, str) else payload, **options)  # type: ignore[arg-type]


def more(payload: str | bytes, *, fin: bool = False) -> Frame:
    return Frame(CONTINUE, payload.encode() if isinstance(payload, str) else payload, fin=fin)


def close(code: int | None = None, reason: str | bytes = b"") -> Frame:
    payload = b"" if code is None else struct.pack("!H", code)
    return Frame(CLOSE, payload + (reason.encode() if isinstance(reason, str) else reason))


class Socket:
    """A client's bare socket after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, *frames: Frame, step: int = 0) -> None:
        data = b"".join(frame.encode() for frame in frames)
        for start in range(0, len(data), step or len(data)):
            self._writer.write(data[start : start + (step or len(data))])

    async def frame(self) -> Frame | None:
        """The next frame; None at the end."""
        async with asyncio.timeout(DEADLINE):
            try:
                first, second = await self._reader.readexactly(2)
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
                payload = await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        assert not second & 0x80, "a server must not mask"
        return Frame(first & 0x0F, payload, fin=bool(first & 0x80), rsv=first >> 4 & 7, masked=False)

    async def until_closed(self) -> tuple[list[Frame], int | None]:
        """All frames up to the close frame, and its code; None if the socket just ends."""
        frames: list[Frame] = []
        while (frame := await self.frame()) is not None:
            if frame.opcode == CLOSE:
                return frames, int.from_bytes(frame.payload[:2], "big") if frame.payload else 0
            frames.append(frame)
        return frames, None


@pytest.fixture
async def socket(gateway: RunningGateway) -> AsyncIterator[Socket]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /feed HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    async with asyncio.timeout(DEADLINE):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    yield Socket(reader, writer)
    writer.close()


PROTOCOL_ERROR, BAD_DATA, UNSUPPORTED, TOO_BIG = 1002, 1007, 1003, 1009
NOTHING: Final[list[str]] = []

# What is sent, the messages that reach the function and are echoed, and the close code (None: it stays open).
CASES: dict[str, tuple[list[Frame], list[str], int | None]] = {
    # 1: framing
    "1.1.1 an empty text": ([text("")], [""], None),
    "1.1.2 125 bytes": ([text("*" * 125)], ["*" * 125], None),
    "1.1.3 126 bytes": ([text("*" * 126)], ["*" * 126], None),
    "1.1.6 32 KB, the largest frame": ([text("*" * 32_768)], ["*" * 32_768], None),
    "1.1.7 64 KB in one frame: API Gateway's own limit": ([text("*" * 65_536)], NOTHING, TOO_BIG),
    "1.2.1 an empty binary message: API Gateway takes none": ([Frame(BINARY)], NOTHING, UNSUPPORTED),
    "1.2.2 a binary message": ([Frame(BINARY, b"\xfe" * 125)], NOTHING, UNSUPPORTED),
    # 2: pings and pongs, whose answers the test checks apart
    "2.5 a ping of 126 bytes": ([Frame(PING, b"\xfe" * 126)], NOTHING, PROTOCOL_ERROR),
    "2.7 an unasked pong": ([Frame(PONG), text("x")], ["x"], None),
    "2.8 an unasked pong with a payload": ([Frame(PONG, b"unasked"), text("x")], ["x"], None),
    # 3: reserved bits
    "3.1 RSV3": ([text("x", rsv=1)], NOTHING, PROTOCOL_ERROR),
    "3.2 RSV2": ([text("x", rsv=2)], NOTHING, PROTOCOL_ERROR),
    "3.4 RSV1 without compression": ([text("x", rsv=4)], NOTHING, PROTOCOL_ERROR),
    "3.6 RSV on a ping": ([Frame(PING, rsv=6)], NOTHING, PROTOCOL_ERROR),
    "3.7 RSV on a close": ([Frame(CLOSE, rsv=7)], NOTHING, PROTOCOL_ERROR),
    # 4: reserved opcodes
    "4.1.1 opcode 3": ([Frame(3)], NOTHING, PROTOCOL_ERROR),
    "4.1.5 opcode 7 with a payload": ([Frame(7, b"x")], NOTHING, PROTOCOL_ERROR),
    "4.2.1 opcode 11": ([Frame(11)], NOTHING, PROTOCOL_ERROR),
    "4.2.5 opcode 15 with a payload": ([Frame(15, b"x")], NOTHING, PROTOCOL_ERROR),
    # 5: fragmentation
    "5.1 a ping in two frames": ([Frame(PING, b"a", fin=False), more("b", fin=True)], NOTHING, PROTOCOL_ERROR),
    "5.2 a pong in two frames": ([Frame(PONG, b"a", fin=False), more("b", fin=True)], NOTHING, PROTOCOL_ERROR),
    "5.3 a text in two frames": ([text("one", fin=False), more("two", fin=True)], ["onetwo"], None),
    "5.6 a ping between fragments": (
        [text("one", fin=False), Frame(PING, b"p"), more("two", fin=True)],
        ["onetwo"],
        None,
    ),
    "5.9 a continuation of nothing": ([more("x", fin=True)], NOTHING, PROTOCOL_ERROR),
    "5.10 a continuation of nothing, with more to come": ([more("x")], NOTHING, PROTOCOL_ERROR),
    "5.15 a continuation after the end": (
        [text("a", fin=False), more("b", fin=True), more("c")],
        ["ab"],
        PROTOCOL_ERROR,
    ),
    "5.18 a new text between fragments": ([text("a", fin=False), text("b")], NOTHING, PROTOCOL_ERROR),
    "5.19 many fragments with pings": (
        [
            text("0", fin=False),
            *[f for n in range(1, 9) for f in (Frame(PING, b"p"), more(str(n)))],
            more("9", fin=True),
        ],
        ["0123456789"],
        None,
    ),
    "an empty fragment at each place": ([text("", fin=False), more(""), more("x"), more("", fin=True)], ["x"], None),
    # 6: UTF-8
    "6.1.1 no fragment has a byte": ([text("", fin=False), more(""), more("", fin=True)], [""], None),
    "6.2.1 text beyond ASCII": ([text("Hello-µ@ßöäüàá-UTF-8!!")], ["Hello-µ@ßöäüàá-UTF-8!!"], None),
    "6.2.3 a character in two fragments": (
        [text("µ".encode()[:1], fin=False), more("µ".encode()[1:], fin=True)],
        ["µ"],
        None,
    ),
    "6.3.1 a surrogate": ([text(b"a\xed\xa0\x80b")], NOTHING, BAD_DATA),
    "6.4.1 a wrong byte in a later fragment": (
        [text("κόσμε", fin=False), more(b"\xf4\x90\x80\x80", fin=True)],
        NOTHING,
        BAD_DATA,
    ),
    "6.6.1 a character that is cut off": ([text(b"\xce")], NOTHING, BAD_DATA),
    "6.10.1 past the last code point": ([text(b"\xf4\x90\x80\x80")], NOTHING, BAD_DATA),
    "6.12.1 an overlong form": ([text(b"\xc0\xaf")], NOTHING, BAD_DATA),
    "6.14.1 a lone byte of continuation": ([text(b"\x80")], NOTHING, BAD_DATA),
    "6.21.1 noncharacters are characters": ([text("\ufffe\uffff")], ["\ufffe\uffff"], None),
    "6.22.1 the last code point": ([text("\U0010ffff")], ["\U0010ffff"], None),
    # 7: closing
    "7.1.1 a message, then a close": ([text("x"), close(1000)], ["x"], 1000),
    "7.3.1 a close without a payload": ([close()], NOTHING, 0),
    "7.3.2 a payload of one byte": ([Frame(CLOSE, b"a")], NOTHING, PROTOCOL_ERROR),
    "7.3.4 a reason": ([close(1000, "Hello World!")], NOTHING, 1000),
    "7.3.5 the longest reason": ([close(1000, "*" * 123)], NOTHING, 1000),
    "7.3.6 a reason that is too long": ([close(1000, "*" * 124)], NOTHING, PROTOCOL_ERROR),
    "7.5.1 a reason that is not UTF-8": ([close(1000, b"\xce\xba\xed\xa0\x80")], NOTHING, BAD_DATA),
    **{
        f"7.7 the code {code}": ([close(code)], NOTHING, code)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.9 the code {code}": ([close(code)], NOTHING, PROTOCOL_ERROR)
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
    },
    "an unmasked frame": ([text("x", masked=False)], NOTHING, PROTOCOL_ERROR),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_client_is_answered_as_rfc_6455_says(socket: Socket, case: str) -> None:
    sent, messages, code = CASES[case]
    socket.send(*sent)
    if code is None:
        echoes: list[str] = []
        while len(echoes) < len(messages):
            frame = await socket.frame()
            assert frame is not None
            if frame.opcode == TEXT:
                echoes.append(frame.payload.decode())
        assert echoes == [f"echo {message}" for message in messages]
        socket.send(close(1000))
        assert (await socket.until_closed())[1] == 1000
        return
    _, closed = await socket.until_closed()
    assert closed == code


@pytest.mark.parametrize("step", [1, 3, 1000])
async def test_frames_may_come_in_pieces_of_any_size(socket: Socket, step: int) -> None:
    sent = [text("a" * 200, fin=False), Frame(PING, b"now"), more("b" * 200, fin=True)]
    socket.send(*sent, step=step)
    pong, echo = await socket.frame(), await socket.frame()
    assert pong == Frame(PONG, b"now", masked=False)
    assert echo is not None
    assert echo.payload.decode() == "echo " + "a" * 200 + "b" * 200


@pytest.mark.parametrize("payload", [b"", b"Hello, world!", b"\x00\xff\xfe\xfd", b"\xfe" * 125])
async def test_a_ping_is_answered_with_its_own_payload(socket: Socket, payload: bytes) -> None:
    socket.send(Frame(PING, payload))
    assert await socket.frame() == Frame(PONG, payload, masked=False)


async def test_pings_are_answered_in_order(socket: Socket) -> None:
    socket.send(*(Frame(PING, str(number).encode()) for number in range(10)), step=1)
    assert [await socket.frame() for _ in range(10)] == [
        Frame(PONG, str(number).encode(), masked=False) for number in range(10)
    ]


@pytest.mark.parametrize("after", [[text("late")], [Frame(PING, b"late")], [close(1000)]])
async def test_what_comes_after_a_close_is_not_heard(socket: Socket, aws: FakeAws, after: list[Frame]) -> None:
    socket.send(close(1000), *after)
    assert await socket.until_closed() == ([], 1000)
    await aws.event("DISCONNECT")
    assert [event["requestContext"]["eventType"] for event in aws.events] == ["CONNECT", "DISCONNECT"]
