"""Posts over TLS: which certificates are trusted, and the reason given for those that are not."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.fake_api import FakeApi
from realtime.posting.delivery import Outcome
from tests.support.posters import MakePoster, delivery, outcomes, results


def self_signed(folder: Path, host: str) -> Path:
    """Write a certificate and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    encoding = serialization.Encoding.PEM
    unencrypted = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, unencrypted) + certificate.public_bytes(encoding)
    )
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def fake(certificate: Path) -> Iterator[FakeApi]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with FakeApi(tls) as fake:
        yield fake


def test_an_api_with_a_trusted_certificate_is_posted_to(
    fake: FakeApi, new_poster: MakePoster, certificate: Path
) -> None:
    poster = new_poster(ca_bundle=str(certificate), max_in_flight=4, connect_timeout_s=10, post_timeout_s=10)
    ids = [f"c{number}" for number in range(100)]
    assert outcomes(poster, map(delivery, ids)) == dict.fromkeys(ids, Outcome.DELIVERED)
    assert fake.peers <= 4


def test_the_bundle_may_come_from_the_environment_as_for_every_aws_client(
    fake: FakeApi, new_poster: MakePoster, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert outcomes(new_poster(), [delivery("c")]) == {"c": Outcome.DELIVERED}


def test_an_api_with_an_unknown_certificate_is_sent_nothing(fake: FakeApi, new_poster: MakePoster) -> None:
    result = results(new_poster(), [delivery("c")])["c"]
    assert result.outcome is Outcome.FAILED
    assert "certificate" in result.reason
    assert fake.requests == []


def test_an_api_with_another_hosts_certificate_is_sent_nothing(
    fake: FakeApi, new_poster: MakePoster, certificate: Path
) -> None:
    poster = new_poster(endpoint_url=fake.url.replace("localhost", "127.0.0.1"), ca_bundle=str(certificate))
    result = results(poster, [delivery("c")])["c"]
    assert result.outcome is Outcome.FAILED
    assert "certificate" in result.reason
    assert fake.requests == []


def test_importing_the_poster_does_not_load_libcurl() -> None:
    check = "import sys, realtime.posting.api; sys.exit('pycurl' in sys.modules)"
    folder = Path(__file__).parents[2] / "layers" / "realtime"
    subprocess.run([sys.executable, "-c", check], check=True, env={"PYTHONPATH": str(folder)})
