"""One port takes TLS and plain HTTP, under whatever name it is called by."""

from __future__ import annotations

import asyncio
import ssl
import stat
from pathlib import Path

import pytest

from samsocket.acceptor import Acceptor, listeners
from samsocket.tls import Authority


class Echo(asyncio.Protocol):
    """Answers with what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.mark.parametrize("name", [None, "localhost", "abc.execute-api.us-east-1.amazonaws.com"])
async def test_the_first_byte_decides_between_tls_and_plain_http(tmp_path: Path, name: str | None) -> None:
    authority = Authority(tmp_path)
    acceptor = Acceptor(listeners("127.0.0.1", 0, 5), Echo, authority.server_context())
    try:
        port = acceptor.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context(cafile=str(authority.certificate)) if name else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
        writer.write(b"GET /")
        assert await reader.readexactly(5) == b"GET /"
        writer.close()
    finally:
        acceptor.close()


async def test_a_client_that_does_not_trust_the_authority_is_not_served(tmp_path: Path) -> None:
    acceptor = Acceptor(listeners("127.0.0.1", 0, 5), Echo, Authority(tmp_path).server_context())
    try:
        port = acceptor.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=True, server_hostname="localhost")
    finally:
        acceptor.close()


def test_the_authority_is_made_once_and_its_key_is_this_user_s_alone(tmp_path: Path) -> None:
    first = Authority(tmp_path / "authority").certificate.read_bytes()
    assert Authority(tmp_path / "authority").certificate.read_bytes() == first
    assert stat.S_IMODE((tmp_path / "authority/ca.key").stat().st_mode) == 0o600
    assert first in (tmp_path / "authority/bundle.pem").read_bytes()
