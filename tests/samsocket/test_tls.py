"""One port takes TLS and plain HTTP, under whatever name it is called by."""

from __future__ import annotations

import asyncio
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from samsocket.acceptor import Acceptor, listeners
from samsocket.tls import Authority


def fits(authority: Authority) -> None:
    """Fail unless the key is the certificate's."""
    key = authority.certificate.with_suffix(".key")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(authority.certificate, key)


class Echo(asyncio.Protocol):
    """Answers with what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.mark.parametrize(
    "name", [None, "localhost", "abc.execute-api.us-east-1.amazonaws.com", "my--bucket.s3.amazonaws.com"]
)
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


async def test_by_a_name_that_no_certificate_may_have_a_client_is_told_so(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    acceptor = Acceptor(listeners("127.0.0.1", 0, 5), Echo, authority.server_context())
    try:
        port = acceptor.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context(cafile=str(authority.certificate))
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="a_b--.c_d")
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


def test_a_key_that_is_not_the_certificate_s_is_made_anew_with_it(tmp_path: Path) -> None:
    Authority(tmp_path / "one")
    Authority(tmp_path / "other")
    (tmp_path / "one/ca.key").replace(tmp_path / "other/ca.key")
    fits(Authority(tmp_path / "other"))


def test_first_runs_at_once_make_one_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as runs:
        made = list(runs.map(lambda _: Authority(tmp_path), range(4)))
    for authority in made:
        fits(authority)
        assert authority.certificate.read_bytes() in authority.bundle.read_bytes()
