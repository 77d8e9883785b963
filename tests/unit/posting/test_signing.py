"""Our Signature Version 4 compared with botocore's, and when its parts are computed again."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from unittest import mock

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from realtime.posting.api import Api
from realtime.posting.signing import Signer


class Frozen(NamedTuple):
    """Frozen credentials, as botocore's are."""

    access_key: str
    secret_key: str
    token: str | None = None


REGION = "eu-west-1"
A, B = Frozen("AKIDA", "secret-a"), Frozen("AKIDB", "secret-b", "token-b")

words = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", min_size=1, max_size=60)
credentials = st.builds(Frozen, words, words, st.none() | words | st.just("t" * 1200))
connection_ids = st.text(st.characters(codec="utf-8"), max_size=40) | st.from_regex(
    r"[A-Za-z0-9_-]{15}=", fullmatch=True
)
stages = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


def signed_by_botocore(method: str, url: str, body: bytes, with_: Frozen, when: datetime) -> dict[str, str]:
    request = AWSRequest(method=method, url=url, data=body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=when):
        SigV4Auth(Credentials(*with_), "execute-api", REGION).add_auth(request)
    return dict(request.headers.items())


def as_dict(headers: list[str]) -> dict[str, str]:
    return dict(header.split(": ", 1) for header in headers)


@pytest.mark.parametrize(
    "endpoint_url",
    [
        "https://abcdefghij.execute-api.eu-west-1.amazonaws.com",
        "http://localhost:8080/_aws/execute-api/realtime",
        "https://ABC.example:443/",
        "http://[::1]:8080",
    ],
)
@given(
    method=st.sampled_from(["POST", "DELETE"]),
    stage=stages,
    connection_id=connection_ids,
    body=st.binary(max_size=200),
    with_=credentials,
    when=moments,
)
@example(method="POST", stage="feed", connection_id="..", body=b"", with_=B, when=datetime(2026, 1, 1, tzinfo=UTC))
@example(method="POST", stage="feed", connection_id="", body=b"", with_=B, when=datetime(2026, 1, 1, tzinfo=UTC))
@example(method="POST", stage="feed", connection_id="a=b==", body=b"", with_=A, when=datetime(2026, 1, 1, tzinfo=UTC))
def test_every_request_is_signed_as_botocore_signs_it(
    endpoint_url: str, method: str, stage: str, connection_id: str, body: bytes, with_: Frozen, when: datetime
) -> None:
    api = Api(endpoint_url)
    sent, signed = api.paths(stage, connection_id)
    ours = api.signer(REGION, lambda: with_).headers(method, signed, sha256(body).hexdigest(), when.timestamp())
    assert as_dict(ours) == signed_by_botocore(method, api.origin + sent, body, with_, when)


@pytest.fixture(scope="module")
def botocore_client() -> Any:
    return botocore.session.get_session().create_client(
        "apigatewaymanagementapi",
        region_name=REGION,
        endpoint_url="https://abcdefghij.execute-api.eu-west-1.amazonaws.com/feed",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


@given(connection_id=connection_ids.filter(lambda each: each not in {"", ".", ".."}))
def test_a_connection_has_the_url_that_botocore_gives_it(botocore_client: Any, connection_id: str) -> None:
    theirs = botocore_client.generate_presigned_url("get_connection", {"ConnectionId": connection_id})
    api = Api("https://abcdefghij.execute-api.eu-west-1.amazonaws.com")
    assert api.origin + api.paths("feed", connection_id)[0] == theirs.partition("?")[0]


def test_credentials_are_asked_for_once_a_second_and_take_effect_at_once() -> None:
    asked = iter([A, B])
    signer = Signer(host="h", region=REGION, service="execute-api", credentials=lambda: next(asked))
    first = as_dict(signer.headers("POST", "/", "0", 1000.0))
    again = as_dict(signer.headers("POST", "/", "0", 1000.9))
    later = as_dict(signer.headers("POST", "/", "0", 1001.0))
    assert first == again
    assert "AKIDA" in first["Authorization"]
    assert "AKIDB" in later["Authorization"]
    assert later["X-Amz-Security-Token"] == "token-b"


@pytest.mark.parametrize("later", [1_700_000_000.0, 1_600_000_000.0 - 86_400, 1_600_000_000.0 + 86_400])
def test_a_jump_of_the_clock_renews_the_date_and_the_key(later: float) -> None:
    signer = Signer(host="h.example", region=REGION, service="execute-api", credentials=lambda: B)
    signer.headers("POST", "/", sha256(b"").hexdigest(), 1_600_000_000.0)
    when = datetime.fromtimestamp(later, UTC)
    ours = as_dict(signer.headers("POST", "/", sha256(b"").hexdigest(), later))
    assert ours == signed_by_botocore("POST", "https://h.example/", b"", B, when)


def test_an_error_of_the_source_of_credentials_is_raised() -> None:
    def expired() -> Frozen:
        raise RuntimeError("no credentials")

    signer = Signer(host="h", region=REGION, service="execute-api", credentials=expired)
    with pytest.raises(RuntimeError, match="no credentials"):
        signer.headers("POST", "/", "0", 1000.0)


@pytest.mark.parametrize("now", [0.0, 1.0, 2.0])
def test_the_first_request_may_be_of_any_second(now: float) -> None:
    signer = Signer(host="h", region=REGION, service="execute-api", credentials=lambda: A)
    assert as_dict(signer.headers("POST", "/", "0", now))["X-Amz-Date"] == f"19700101T00000{now:.0f}Z"
