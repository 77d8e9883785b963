"""`AWS_IAM` on `$connect`: signatures in the header and in the query string; and management requests that we sign."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from samsocket.api import Integration, Route
from samsocket.signatures import Signature
from tests.support.gateways import sample_api

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter

OURS = Credentials("test", "test")
THEIRS = Credentials("AKIATHEIRS", "secret", "session-token")


@pytest.fixture
async def gateway(start: Starter) -> RunningGateway:
    connect = Route(key="$connect", integration=Integration(function="connect"), authorization="AWS_IAM")
    return await start(sample_api(routes={**sample_api().routes, "$connect": connect}))


def signed(
    gateway: RunningGateway, credentials: Credentials, path: str, *, in_query: bool
) -> tuple[str, dict[str, str]]:
    """Sign a handshake as the SDKs do, and return its path and headers."""
    request = AWSRequest("GET", gateway.url + path)
    signer = (SigV4QueryAuth if in_query else SigV4Auth)(credentials, "execute-api", "us-east-1")
    signer.add_auth(request)
    url = urlsplit(str(request.url))
    return f"{url.path}?{url.query}" if url.query else url.path, dict(request.headers.items())


@pytest.mark.parametrize("in_query", [False, True])
@pytest.mark.parametrize("path", ["/feed", "/feed?b=2&a=x%20y", "/ws/feed"])
async def test_a_handshake_that_is_signed_with_the_gateways_own_key_is_let_in(
    gateway: RunningGateway, aws: FakeAws, in_query: bool, path: str
) -> None:
    path, headers = signed(gateway, OURS, path, in_query=in_query)
    await gateway.connect(path, headers=headers)
    identity = (await aws.event("CONNECT"))["requestContext"]["identity"]
    assert (identity["accessKey"], identity["accountId"]) == ("test", "000000000000")


async def test_a_handshake_without_a_signature_is_refused(gateway: RunningGateway, aws: FakeAws) -> None:
    assert (await gateway.refused("/feed")).status == 403
    assert (await gateway.refused("/feed", headers={"Authorization": "Bearer x"})).status == 403
    assert aws.events == []


@pytest.mark.parametrize("in_query", [False, True])
async def test_a_signature_of_another_secret_or_of_another_path_is_refused(
    gateway: RunningGateway, aws: FakeAws, in_query: bool
) -> None:
    path, headers = signed(gateway, Credentials("test", "wrong"), "/feed", in_query=in_query)
    assert (await gateway.refused(path, headers=headers)).status == 403
    path, headers = signed(gateway, OURS, "/feed", in_query=in_query)
    assert (await gateway.refused(path.replace("/feed", "/calls"), headers=headers)).status == 403
    assert aws.events == []


@pytest.mark.parametrize("in_query", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "let_in"),
    [
        (404, "NotFoundException", True),
        (403, "AccessDeniedException", True),  # about the emulator's own path, after the signature was found right
        (403, "InvalidSignatureException", False),
        (400, "IncompleteSignature", False),
        (403, "UnrecognizedClientException", False),
        (503, "ServiceUnavailable", False),
    ],
)
async def test_the_emulator_judges_the_signatures_of_its_own_keys(
    gateway: RunningGateway, aws: FakeAws, in_query: bool, status: int, code: str, let_in: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def judge(request: web.BaseRequest, _: bytes) -> web.Response:
        asked.append((request.method, unquote(request.raw_path)))
        return web.json_response({"__type": code}, status=status, headers={"x-amzn-ErrorType": code})

    aws.services = judge
    path, headers = signed(gateway, THEIRS, "/feed?x=1", in_query=in_query)
    if let_in:
        await gateway.connect(path, headers=headers)
    else:
        assert (await gateway.refused(path, headers=headers)).status == (500 if status == 503 else 403)
    assert asked == [("GET", unquote(path))]


@pytest.mark.parametrize("credentials", [OURS, Credentials("test", "wrong")])
async def test_an_enforcing_emulators_short_path_is_open_to_the_gateways_own_key(
    gateway: RunningGateway, aws: FakeAws, credentials: Credentials
) -> None:
    aws.enforces = lambda request: "Authorization" not in request.headers
    path, headers = signed(gateway, OURS, "/feed", in_query=False)
    client = await gateway.connect(path, headers=headers)
    url = gateway.management_url(client.connection_id, plain=True)
    request = AWSRequest("POST", str(url), data=b"hello")
    SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(request)
    async with gateway.client.post(url, data=b"hello", headers=dict(request.headers.items())) as response:
        assert response.status == (200 if credentials is OURS else 403)


async def test_an_unsigned_post_is_refused_while_the_emulator_enforces_rights(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    path, headers = signed(gateway, OURS, "/feed", in_query=False)
    client = await gateway.connect(path, headers=headers)
    aws.enforces = lambda request: "Authorization" not in request.headers
    assert (await gateway.post(client.connection_id, "x")).status == 403
    answer = await gateway.post(client.connection_id, "x", plain=True)
    assert (answer.status, answer.json()) == (403, {"message": "Missing Authentication Token"})


DATE = "20260101T000000Z"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def query(**changes: str) -> str:
    fields = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIA/20260101/us-east-1/execute-api/aws4_request",
        "X-Amz-Date": DATE,
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "abc",
        **changes,
    }
    return "&".join(f"{name}={value}" for name, value in fields.items() if value)


@pytest.mark.parametrize(
    ("age", "expires", "current"),
    [(0, "60", True), (59, "60", True), (61, "60", False), (-240, "60", True), (-400, "60", False), (800, "", True)],
)
def test_a_signature_counts_for_a_time(age: int, expires: str, current: bool) -> None:
    signature = Signature.of({}, query(**{"X-Amz-Expires": expires}))
    assert signature is not None
    assert signature.is_current(NOW + timedelta(seconds=age)) is current


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Amz-Credential": "AKIA"},
        {"X-Amz-Credential": ""},
        {"X-Amz-Expires": "soon"},
        {"X-Amz-Expires": "0"},
        {"X-Amz-Expires": "604801"},
        {"X-Amz-Expires": "999999999999"},
        {"X-Amz-Credential": "%C3%BC/20260101/us-east-1/execute-api/aws4_request"},
        {"X-Amz-Signature": ""},
        {"X-Amz-SignedHeaders": ""},
        {"X-Amz-Algorithm": "none"},
    ],
)
def test_a_signature_that_cannot_be_read_is_none(changes: dict[str, str]) -> None:
    assert Signature.of({}, query(**changes)) is None


@pytest.mark.parametrize("date", ["yesterday", "99991231T235959Z", "00010101T000000Z"])
def test_a_date_that_is_none_never_counts(date: str) -> None:
    fields: dict[str, Any] = {"X-Amz-Date": date}
    signature = Signature.of({}, query(**fields))
    assert signature is not None
    assert not signature.is_current(NOW)


def test_a_plus_in_a_session_token_is_a_plus() -> None:
    signature = Signature.of({}, query(**{"X-Amz-Security-Token": "a+b%2Bc"}))
    assert signature is not None
    assert signature.session_token == "a+b+c"


AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/execute-api/aws4_request"
PATH = "/feed/@connections/AAAAAAAAAAAAAAA%3D"


def is_of(lines: list[tuple[str, str]], body: bytes = b"hello", path: str = PATH) -> bool:
    """Sign a POST of `hello` with these header lines, and judge it with another body or path, if one is given."""
    request = AWSRequest("POST", f"http://127.0.0.1{PATH}", data=b"hello")
    for name, value in lines:
        request.headers[name] = value
    SigV4Auth(OURS, "execute-api", "us-east-1").add_auth(request)
    headers = CIMultiDict([*request.headers.items(), ("Host", "127.0.0.1")])
    signature = Signature.of(headers, "")
    assert signature is not None
    return signature.is_of("test", "POST", path, headers, body)


def test_lines_of_one_name_are_signed_as_one() -> None:
    assert is_of([("X-A", "one  two"), ("X-A", "three")])


def test_bytes_that_are_no_utf_8_do_no_harm() -> None:
    authorization = f"{AUTHORIZATION}, SignedHeaders=host;x-a, Signature=\udcff"
    headers = CIMultiDict({"Host": "x", "X-A": "\udcff", "Authorization": authorization})
    signature = Signature.of(headers, "")
    assert signature is not None
    assert not signature.is_of("test", "POST", f"{PATH}\udcff?\udcff=\udcff", headers, b"")


class WithoutHost(SigV4Auth):
    """Signs no Host."""

    def headers_to_sign(self, request: AWSRequest) -> Any:
        headers = super().headers_to_sign(request)
        del headers["host"]
        return headers


def test_a_signature_that_leaves_out_the_host_is_none() -> None:
    request = AWSRequest("POST", f"http://127.0.0.1{PATH}", data=b"hello")
    WithoutHost(OURS, "execute-api", "us-east-1").add_auth(request)
    headers = CIMultiDict([*request.headers.items(), ("Host", "127.0.0.1")])
    signature = Signature.of(headers, "")
    assert signature is not None
    assert signature.signed_headers == ("x-amz-date",)
    assert not signature.is_of("test", "POST", PATH, headers, b"hello")


@pytest.mark.parametrize(
    ("digest", "body", "counts"),
    [
        (hashlib.sha256(b"hello").hexdigest(), b"hello", True),
        (hashlib.sha256(b"hello").hexdigest(), b"other", False),
        ("UNSIGNED-PAYLOAD", b"other", True),
    ],
)
def test_the_body_is_the_one_that_was_signed(digest: str, body: bytes, counts: bool) -> None:
    assert is_of([("X-Amz-Content-SHA256", digest)], body) is counts


@pytest.mark.parametrize(("service", "region"), [("s3", "us-east-1"), ("execute-api", "eu-west-9")])
async def test_a_signature_for_another_service_or_region_is_refused(
    gateway: RunningGateway, service: str, region: str
) -> None:
    request = AWSRequest("GET", f"{gateway.url}/feed")
    SigV4Auth(OURS, service, region).add_auth(request)
    assert (await gateway.refused("/feed", headers=dict(request.headers.items()))).status == 403
