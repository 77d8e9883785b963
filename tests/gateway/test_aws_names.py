"""What functions send to AWS by name, which the gateway passes on to the emulator."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from tests.support.gateways import DEADLINE

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, Starter

S3 = {"Host": "s3.us-east-1.amazonaws.com"}


async def test_the_length_of_an_object_is_told_without_the_object(start: Starter, aws: FakeAws) -> None:
    aws.services = lambda *_: web.Response(headers={"Content-Length": "12345", "ETag": "x"})
    gateway = await start(has_aws_names=True)
    async with gateway.client.head(f"{gateway.url}/bucket/key", headers=S3) as answer:
        assert (answer.status, answer.headers["Content-Length"], answer.headers["ETag"]) == (200, "12345", "x")


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_of_any_size_pass_both_ways(start: Starter, aws: FakeAws, chunked: bool) -> None:
    aws.services = lambda _, body: web.Response(body=io.BytesIO(body[::-1]))
    gateway = await start(has_aws_names=True)
    sent = b"a" + bytes(2_500_000)
    async with gateway.client.put(
        f"{gateway.url}/bucket/key", data=io.BytesIO(sent), headers=S3, chunked=chunked or None
    ) as answer:
        assert await answer.read() == sent[::-1]
    [(method, path, headers, body)] = aws.requests
    assert (method, path, body == sent, headers["Host"]) == ("PUT", "/bucket/key", True, S3["Host"])
    assert (headers.get("Content-Length") is None) is chunked


async def test_a_client_that_asks_whether_to_send_its_body_is_told_so(start: Starter, aws: FakeAws) -> None:
    aws.services = lambda _, body: web.Response(body=body)
    gateway = await start(has_aws_names=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"PUT /b/k HTTP/1.1\r\nHost: {S3['Host']}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(DEADLINE):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(3) == b"abc"
    writer.close()


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(start: Starter, aws: FakeAws) -> None:
    def breaks_off(request: web.BaseRequest, _: bytes) -> web.Response:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
        request.transport.close()
        return web.Response()

    aws.services = breaks_off
    gateway = await start(has_aws_names=True)
    with pytest.raises(aiohttp.ClientError):
        async with gateway.client.get(f"{gateway.url}/bucket/key", headers=S3) as answer:
            await answer.read()
