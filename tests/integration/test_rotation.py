"""The rotation of the secret that signs tokens, step by step as docs/operating.md tells it; it sends nobody away."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from realtime.aws.token_keys import SharedKeys
from realtime.cached_keys import REFRESH_SECONDS, REFRESH_SPREAD_SECONDS
from tests.samples import sample
from tests.support.cloud import TOKEN_KEYS, Cloud, Function, operator
from tests.unit.fakes import Clock

OLD, NEW = "the old secret, which somebody may have read", "the new secret, which nobody has read so far"
READ_AGAIN_SECONDS = REFRESH_SECONDS + REFRESH_SPREAD_SECONDS
pytestmark = pytest.mark.usefixtures("jwt_clock")


@pytest.fixture
def instance(cloud: Cloud, monotonic: Clock) -> Function:
    """Return one instance of `connect`, which goes on through all of it, with the old secret."""
    store({"old": OLD})
    return cloud.function("connect", RejectionMode="handshake")


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which an instance knows how old its keys are."""
    clock = Clock(10_000.0)
    monkeypatch.setattr(SharedKeys.__init__, "__defaults__", (clock,))
    return clock


def store(keys: dict[str, str]) -> None:
    operator("ssm").put_parameter(Name=TOKEN_KEYS, Value=json.dumps(keys), Type="SecureString", Overwrite=True)


def token(kid: str | None, secret: str) -> str:
    headers = {"kid": kid} if kid else None
    return jwt.encode({"sub": "123", "exp": 4_102_444_800}, secret, algorithm="HS256", headers=headers)


def status(connect: Function, bearer: str) -> int:
    event = sample("connect.token-in-query")
    event["queryStringParameters"] = {"token": bearer}
    answer: dict[str, Any] = connect(event)
    return int(answer["statusCode"])


def test_a_rotation_refuses_nobody_until_the_old_secret_is_taken_out(instance: Function, monotonic: Clock) -> None:
    assert status(instance, token("old", OLD)) == 200
    # 1. the new secret beside the old one, before anybody signs with it
    store({"old": OLD, "new": NEW})
    monotonic.now += READ_AGAIN_SECONDS
    # 2. backends sign with the new one; tokens of the old one live on
    assert status(instance, token("new", NEW)) == 200
    assert status(instance, token("old", OLD)) == 200
    assert status(instance, token(None, OLD)) == 200  # without a key id, each secret is tried
    # 3. when the last old token has expired, the old secret is taken out
    store({"new": NEW})
    monotonic.now += READ_AGAIN_SECONDS
    assert status(instance, token("new", NEW)) == 200
    assert status(instance, token("old", OLD)) == 401
    assert status(instance, token(None, OLD)) == 401


def test_whoever_signs_with_the_new_secret_too_early_is_let_in_as_well(instance: Function, monotonic: Clock) -> None:
    assert status(instance, token("old", OLD)) == 200
    store({"old": OLD, "new": NEW})
    monotonic.now += 31  # an unknown key id has the secrets read at once, but for one such read in 30 s
    assert status(instance, token("new", NEW)) == 200


def test_a_key_id_never_stands_for_another_secret(instance: Function, monotonic: Clock) -> None:
    store({"old": OLD, "new": NEW})
    monotonic.now += READ_AGAIN_SECONDS
    assert status(instance, token("new", OLD)) == 401
    assert status(instance, token("old", NEW)) == 401
