from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.errors import ConfigurationError, Unavailable
from realtime.kept_keys import MIN_REFRESH_SECONDS, REFRESH_SECONDS
from realtime.token_keys import SharedKeys, parse
from tests.unit.fakes import Clock, aws_error

PARAMETER = "/realtime/token-keys"
SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-keys-AbCdEf"


class Store:
    """SSM and Secrets Manager, with one value; counts how often it is read."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.reads = 0
        self.broken: Exception | None = None

    def __call__(self, service: str) -> Any:
        self.service = service
        return self

    def __len__(self) -> int:
        return self.reads

    def get_parameter(self, *, Name: str, WithDecryption: bool) -> dict[str, Any]:  # noqa: N803  # AWS's names
        assert (self.service, Name, WithDecryption) == ("ssm", PARAMETER, True)
        return {"Parameter": {"Value": self._read()}}

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803
        assert (self.service, SecretId) == ("secretsmanager", SECRET_ARN)
        return {"SecretString": self._read()}

    def _read(self) -> str:
        self.reads += 1
        if self.broken:
            raise self.broken
        return self.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Store:
    return Store('{"old": "secret 1", "new": "secret 2"}')


@pytest.fixture
def keys(store: Store, clock: Clock) -> SharedKeys:
    return SharedKeys(store, PARAMETER, clock)


def test_a_key_id_names_one_secret(keys: SharedKeys) -> None:
    assert keys.candidates("old") == ["secret 1"]
    assert keys.candidates("new") == ["secret 2"]


def test_without_a_key_id_any_secret_may_fit(keys: SharedKeys) -> None:
    assert keys.candidates(None) == ["secret 1", "secret 2"]


def test_an_unknown_key_id_names_none(keys: SharedKeys) -> None:
    assert keys.candidates("newer") == []


@pytest.mark.parametrize("kid", [None, "any"])
def test_one_bare_secret_fits_every_key_id(clock: Clock, kid: str | None) -> None:
    assert SharedKeys(Store("  one bare secret\n"), PARAMETER, clock).candidates(kid) == ["one bare secret"]


def test_a_secrets_arn_is_read_from_secrets_manager(store: Store, clock: Clock) -> None:
    assert SharedKeys(store, SECRET_ARN, clock).candidates("new") == ["secret 2"]


def test_secrets_are_read_once_and_again_when_they_are_old(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    clock.now += REFRESH_SECONDS - 1
    keys.candidates("new")
    assert len(store) == 1
    clock.now += 1
    store.value = '{"new": "secret 3"}'
    assert keys.candidates("new") == ["secret 3"]
    assert len(store) == 2


def test_a_new_key_id_is_looked_for_before_the_secrets_are_old(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    store.value = '{"new": "secret 2", "newer": "secret 3"}'
    clock.now += MIN_REFRESH_SECONDS
    assert keys.candidates("newer") == ["secret 3"]


def test_made_up_key_ids_cannot_have_the_secrets_read_at_will(keys: SharedKeys, store: Store, clock: Clock) -> None:
    for n in range(100):
        keys.candidates(f"made up {n}")
        clock.now += 0.1
    assert len(store) == 1


def test_a_store_that_does_not_answer_is_asked_again_by_the_next_client(keys: SharedKeys, store: Store) -> None:
    store.broken = aws_error("ThrottlingException")
    with pytest.raises(Unavailable, match=f"reading the token keys {PARAMETER}: ThrottlingException"):
        keys.candidates("new")
    store.broken = None
    assert keys.candidates("new") == ["secret 2"]


def test_secrets_that_are_known_serve_on_while_the_store_does_not_answer(
    keys: SharedKeys, store: Store, clock: Clock
) -> None:
    keys.candidates("new")
    store.broken = aws_error("ThrottlingException")
    clock.now += REFRESH_SECONDS
    for _ in range(10):
        assert keys.candidates("new") == ["secret 2"]
    assert len(store) == 2, "it is left alone for a while"

    store.broken = None
    store.value = '{"new": "secret 3"}'
    clock.now += MIN_REFRESH_SECONDS
    assert keys.candidates("new") == ["secret 3"]


@pytest.mark.parametrize("code", ["ParameterNotFound", "AccessDeniedException", "ResourceNotFoundException"])
def test_a_missing_parameter_or_right_is_the_operators_to_mend(keys: SharedKeys, store: Store, code: str) -> None:
    store.broken = aws_error(code)
    with pytest.raises(ConfigurationError, match=f"reading the token keys {PARAMETER}: {code}"):
        keys.candidates("new")


@pytest.mark.parametrize(
    "value",
    [
        "",
        " \n",
        "{}",
        '{"new": ""}',
        '{"new": "hunter2", "old": 7}',
        '{"new": ["hunter2"]}',
        '{"new": "hunter2"',
        "{hunter2}",
    ],
)
def test_a_bad_value_is_named_by_where_it_is_and_never_by_what_it_is(value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(value, PARAMETER)
    assert PARAMETER in str(caught.value)
    assert "hunter2" not in "".join(map(str, (caught.value, caught.value.__cause__, caught.value.__context__)))


def test_a_good_value_is_read() -> None:
    assert parse(json.dumps({"new": "secret"}), PARAMETER) == {"new": "secret"}
