"""A DynamoDB on loopback with prepared answers, in a process of its own, so that it costs its clients no CPU.

`python -m bench.tables PORT` serves, over HTTP/1.1 and in DynamoDB's wire format (JSON 1.0, CRC32 header), the
operations that the benchmarks call, and counts them. `GET /counts` returns how often each operation was called and how
many items of connections were deleted.

The name of an audience contains its size: `feed/*/100000` has 100,000 connections, in pages of 1 MB as DynamoDB
measures items. With leading zeros it is another audience, with other connections.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar
from zlib import crc32

from bench.nginx import free_port, wait_until_open

PAGE_BYTES = 1024 * 1024
CONNECTED_AT = 1_705_314_600_000  # ms; long ago, so that a 410 is believed at once
OTHERS = 10_000_000  # connections, at most, in an audience
FAR_FUTURE = 4_102_444_800  # s; nothing here runs out

_TARGET = re.compile(rb"x-amz-target: DynamoDB_20120810\.(\w+)", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def connection_id(number: int) -> str:
    """Return an id such as API Gateway's; one in a hundred ends with `00=`, and nginx calls it gone."""
    return f"L0SM9c{number:09d}="


def _index_item(audience: str, number: int) -> dict[str, Any]:
    return {
        "connection_id": {"S": connection_id(number)},
        "audience": {"S": audience},
        "indexed_audience": {"S": audience},
        "user_id": {"S": str(100_000 + number)},
        "endpoint": {"S": "feed"},
        "connected_at": {"N": str(CONNECTED_AT)},
        "expires_at": {"N": str(FAR_FUTURE)},
    }


def _size(item: dict[str, Any]) -> int:
    """Return an item's size by DynamoDB's rules: names and strings as UTF-8, a number half its digits and one."""
    return sum(
        len(name) + (len(content) if kind == "S" else len(content) // 2 + 2)
        for name, value in item.items()
        for kind, content in value.items()
    )


@cache
def _pages(audience: str, projection: str) -> dict[str | None, bytes]:
    """Return an audience's pages by the connection id after which they begin."""
    names = set(projection.split(",")) if projection else None
    pages: dict[str | None, bytes] = {}
    begin: str | None = None
    rows: list[dict[str, Any]] = []
    size = 0
    digits = audience.rpartition("/")[2]
    total = int(digits)
    first = (len(digits) - len(str(total))) * OTHERS
    for number in range(total):
        item = _index_item(audience, first + number)
        size += _size(item)
        rows.append({name: value for name, value in item.items() if names is None or name in names})
        if size >= PAGE_BYTES or number == total - 1:
            last = item["connection_id"]["S"]
            page: dict[str, Any] = {"Items": rows, "Count": len(rows), "ScannedCount": len(rows)}
            if number < total - 1:
                names_of_keys = ("indexed_audience", "connection_id", "audience")
                page["LastEvaluatedKey"] = {name: item[name] for name in names_of_keys}
            pages[begin] = _answer(page)
            begin, rows, size = last, [], 0
    return pages


def _answer(body: dict[str, Any]) -> bytes:
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(content)}\r\n"
        f"x-amzn-RequestId: {'A' * 52}\r\nx-amz-crc32: {crc32(content)}\r\n\r\n"
    )
    return head.encode() + content


def _query(request: dict[str, Any]) -> bytes:
    values = request["ExpressionAttributeValues"]
    if "IndexName" not in request:  # all that a connection hears
        connection = values[":id"]["S"]
        audiences = (f"connection/{connection}", "feed/*/0")
        rows = [{"audience": {"S": audience}, "user_id": {"S": "123"}} for audience in audiences]
        return _answer({"Items": rows, "Count": len(rows), "ScannedCount": len(rows)})
    audience = values[":listing"]["S"]
    if audience.startswith("live/"):  # nobody hears several endpoints
        return _answer({"Items": [], "Count": 0, "ScannedCount": 0})
    names = request.get("ExpressionAttributeNames", {})
    projection = [names.get(each.strip(), each.strip()) for each in request.get("ProjectionExpression", "").split(",")]
    start = request.get("ExclusiveStartKey")
    pages = _pages(audience, ",".join(filter(None, projection)))
    return pages[start["connection_id"]["S"] if start else None]


def _get_item(request: dict[str, Any]) -> bytes:
    if "connection_id" not in request["Key"]:  # who is behind: nobody
        return _answer({})
    connection = request["Key"]["connection_id"]["S"]
    session = _index_item(f"connection/{connection}", 0) | {"connection_id": {"S": connection}}
    lease = {"lease_until": {"N": str(FAR_FUTURE)}, "token_expires_at": {"N": str(FAR_FUTURE)}}
    return _answer({"Item": session | lease})


class _Connection(asyncio.Protocol):
    """One client."""

    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                if b"100-continue" in head:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            target = _TARGET.search(head)
            self._transport.write(self._serve(target[1].decode(), json.loads(body)) if target else self._tell())

    def _serve(self, operation: str, request: dict[str, Any]) -> bytes:
        self.counts[operation] += 1
        if operation == "Query":
            return _query(request)
        if operation == "GetItem":
            return _get_item(request)
        if operation == "BatchWriteItem":
            self.counts["deleted"] += sum(map(len, request["RequestItems"].values()))
            return _answer({"UnprocessedItems": {}})
        claimed = request.get("ExpressionAttributeValues", {}).get(":posts")
        if claimed is not None:
            return _answer({"Attributes": {"claimed": claimed}})
        return _answer({})  # of other writes nothing is returned: what they asked for was not there before

    def _tell(self) -> bytes:
        return _answer(dict(self.counts))


@contextmanager
def running(core: int) -> Iterator[str]:
    """Run it on one core; the value is its URL."""
    port = free_port()
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.tables", str(port)]
    process = subprocess.Popen(command)
    try:
        wait_until_open(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def counts(url: str) -> Counter[str]:
    """Return how often each operation was called."""
    with urllib.request.urlopen(f"{url}/counts", timeout=60) as answer:
        return Counter(json.load(answer))


async def _main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(_main(int(sys.argv[1])))
