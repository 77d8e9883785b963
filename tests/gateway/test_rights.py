"""Who may manage connections and sign handshakes, before an emulator that tells the secrets of the keys it issued."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from samsocket.api import Route
from tests.support.gateways import sample_api

if TYPE_CHECKING:
    from aiohttp import web

    from tests.support.gateways import Client, FakeAws, RunningGateway, Starter

OURS = Credentials("test", "test")
ROLE = Credentials("ASIAROLE", "of the role", "its session")
KEYS = {"test": ("test", None), "ASIAROLE": ("of the role", "its session")}


@pytest.fixture
async def gateway(start: Starter, aws: FakeAws) -> RunningGateway:
    aws.secrets = dict(KEYS)
    return await start()


async def post(
    gateway: RunningGateway, client: Client, credentials: Credentials | None, *, plain: bool, body: bytes = b"hello"
) -> tuple[int, str]:
    """Post `hello`, signed for another body if one is given; the status and the kind of the error."""
    url = gateway.management_url(client.connection_id, plain=plain)
    request = AWSRequest("POST", str(url), data=body)
    if credentials is not None:
        SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(request)
    async with gateway.client.post(url, data=b"hello", headers=dict(request.headers.items())) as response:
        return response.status, response.headers.get("x-amzn-ErrorType", "")


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("credentials", [OURS, ROLE])
async def test_who_signs_with_its_own_secret_posts_by_both_paths(
    gateway: RunningGateway, credentials: Credentials, plain: bool
) -> None:
    client = await gateway.connect()
    assert await post(gateway, client, credentials, plain=plain) == (200, "")
    assert await client.receive() == "hello"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("test", "wrong"),
        Credentials("ASIAROLE", "wrong", "its session"),
        Credentials("ASIAROLE", "of the role", "another session"),
        Credentials("ASIAROLE", "of the role"),
        Credentials("AKIANOBODY", "of the role"),
    ],
)
async def test_a_key_without_its_secret_is_refused_even_while_that_key_has_the_right(
    gateway: RunningGateway, credentials: Credentials, plain: bool
) -> None:
    client = await gateway.connect()
    for known in (OURS, ROLE):
        await post(gateway, client, known, plain=plain)
    assert await post(gateway, client, credentials, plain=plain) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("plain", [False, True])
async def test_a_request_that_was_not_signed_so_is_refused(gateway: RunningGateway, plain: bool) -> None:
    client = await gateway.connect()
    assert await post(gateway, client, None, plain=plain) == (403, "MissingAuthenticationTokenException")
    assert await post(gateway, client, ROLE, plain=plain, body=b"other") == (403, "InvalidSignatureException")


async def test_a_signature_of_long_ago_is_refused(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await gateway.connect()
    monkeypatch.setattr("samsocket.rights._current", lambda *_: None)
    assert await post(gateway, client, ROLE, plain=True) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("plain", [False, True])
async def test_policies_decide_by_whichever_path_a_role_comes(
    gateway: RunningGateway, aws: FakeAws, plain: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def enforces(request: web.BaseRequest) -> bool:
        asked.append((request.raw_path, request.headers["X-Amz-Security-Token"]))
        return "Credential=ASIAROLE/" in request.headers["Authorization"]

    client = await gateway.connect()
    aws.enforces = enforces
    assert await post(gateway, client, ROLE, plain=plain) == (403, "AccessDeniedException")
    assert asked == [(gateway.management_url(client.connection_id).raw_path, "its session")]
    assert await post(gateway, client, OURS, plain=plain) == (200, "")


async def test_the_right_to_one_api_is_none_to_another_with_the_same_stage(start: Starter, aws: FakeAws) -> None:
    aws.secrets = dict(KEYS)
    gateway = await start(sample_api(api_id="one"), sample_api(api_id="two"))
    aws.enforces = lambda request: "/two/" in request.path
    for api_id, status in (("one", 200), ("two", 403)):
        client = await gateway.connect(f"/{api_id}/feed")
        gateway.api_id = api_id
        assert (await post(gateway, client, ROLE, plain=False))[0] == status


async def test_an_emulator_that_fails_at_first_is_asked_again_whether_it_tells_secrets(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    client = await gateway.connect()
    aws.failing = 503
    assert (await post(gateway, client, ROLE, plain=True))[0] == 500
    aws.failing = None
    assert (await post(gateway, client, ROLE, plain=True))[0] == 200


async def test_a_right_is_remembered_and_the_signature_is_checked_again(gateway: RunningGateway, aws: FakeAws) -> None:
    client = await gateway.connect()
    aws.requests.clear()
    for plain in (False, True, False):
        assert (await post(gateway, client, ROLE, plain=plain))[0] == 200
    assert len(aws.requests) == 1
    wrong = Credentials("ASIAROLE", "wrong", "its session")
    assert (await post(gateway, client, wrong, plain=False))[0] == 403


@pytest.mark.parametrize("signer", [SigV4Auth, SigV4QueryAuth])
@pytest.mark.parametrize(
    ("credentials", "is_let_in"),
    [(ROLE, True), (Credentials("ASIAROLE", "wrong", "its session"), False), (Credentials("AKIANOBODY", "x"), False)],
)
async def test_a_handshake_is_let_in_by_its_signature_alone(
    start: Starter, aws: FakeAws, signer: type[SigV4Auth], credentials: Credentials, is_let_in: bool
) -> None:
    aws.secrets = dict(KEYS)
    routes: dict[str, Route] = dict(sample_api().routes)
    routes["$connect"] = replace(routes["$connect"], authorization="AWS_IAM")
    gateway = await start(sample_api(routes=routes))
    request = AWSRequest("GET", f"{gateway.url}/feed?a=1&a-b=2")
    signer(credentials, "execute-api", "us-east-1").add_auth(request)
    path = str(request.url).removeprefix(gateway.url)
    headers = dict(request.headers.items())
    if is_let_in:
        await gateway.connect(path, headers=headers)
    else:
        assert (await gateway.refused(path, headers=headers)).status == 403
