from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from harness.virtual_time import VirtualTime
from realtime.aws.token_keys import PATIENCE_SECONDS, SharedKeys, parse_keys
from realtime.cached_keys import MIN_REFRESH_SECONDS, REFRESH_SECONDS, REFRESH_SPREAD_SECONDS, SERVE_ON_SECONDS
from realtime.errors import ConfigurationError, Unavailable
from tests.logs import LogLines
from tests.support.fake_stores import FakeStores
from tests.unit.fakes import Clock, Sleeps, aws_error

FIRST, SECOND, THIRD = (f"secret {n} of more than thirty-two bytes" for n in (1, 2, 3))
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
    return Store(json.dumps({"old": FIRST, "new": SECOND}))


@pytest.fixture
def keys(store: Store, clock: Clock) -> SharedKeys:
    return SharedKeys(store, PARAMETER, clock)


def test_a_key_id_names_one_secret(keys: SharedKeys) -> None:
    assert keys.candidates("old") == [FIRST]
    assert keys.candidates("new") == [SECOND]


def test_without_a_key_id_every_secret_is_a_candidate(keys: SharedKeys) -> None:
    assert keys.candidates(None) == [FIRST, SECOND]


def test_an_unknown_key_id_names_no_secret(keys: SharedKeys) -> None:
    assert keys.candidates("newer") == []


@pytest.mark.parametrize("kid", [None, "any"])
def test_one_bare_secret_fits_every_key_id(clock: Clock, kid: str | None) -> None:
    assert SharedKeys(Store(f"  {FIRST}\n"), PARAMETER, clock).candidates(kid) == [FIRST]


def test_a_secrets_arn_is_read_from_secrets_manager(store: Store, clock: Clock) -> None:
    assert SharedKeys(store, SECRET_ARN, clock).candidates("new") == [SECOND]


def test_secrets_are_read_once_and_again_after_they_are_old(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    clock.now += REFRESH_SECONDS - 1
    keys.candidates("new")
    assert len(store) == 1
    clock.now += 1 + REFRESH_SPREAD_SECONDS
    store.value = json.dumps({"new": THIRD})
    assert keys.candidates("new") == [THIRD]
    assert len(store) == 2


def test_a_new_key_id_causes_a_read_before_the_secrets_are_old(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    store.value = json.dumps({"new": SECOND, "newer": THIRD})
    clock.now += MIN_REFRESH_SECONDS
    assert keys.candidates("newer") == [THIRD]


def test_instances_that_read_keys_at_once_do_not_read_them_again_at_once(store: Store, clock: Clock) -> None:
    instances = [SharedKeys(store, PARAMETER, clock) for _ in range(100)]
    began = clock.now
    read: list[int] = []
    for second in range(REFRESH_SECONDS + REFRESH_SPREAD_SECONDS + 1):
        clock.now = began + second
        before = len(store)
        for each in instances:
            each.candidates("new")
        read.append(len(store) - before)
    assert read[0] == 100
    assert not any(read[1:REFRESH_SECONDS])
    assert sum(read) == 200
    assert max(read[1:]) < 20


def test_a_new_key_id_causes_a_read_at_once(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    clock.now += 10
    store.value = json.dumps({"newer": THIRD})
    assert keys.candidates("newer") == [THIRD]


def test_invented_key_ids_cannot_cause_unlimited_reads(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    clock.now += 10
    for n in range(100):
        with suppress(Unavailable):
            assert keys.candidates(f"made up {n}") == []
        clock.now += 0.1
    assert len(store) == 2


def test_a_client_with_an_unknown_secret_id_is_told_to_try_again(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    clock.now += 10
    assert keys.candidates("made up") == []
    clock.now += 10
    store.value = json.dumps({"newer": THIRD})
    with pytest.raises(Unavailable, match="unknown key id; the keys can be read again in 20 s"):
        keys.candidates("newer")
    assert keys.candidates("made up") == [], "it was looked for"
    assert keys.candidates("new") == [SECOND]
    clock.now += 20
    assert keys.candidates("newer") == [THIRD]


def test_the_first_read_is_tried_again_within_the_time_of_a_handshake(
    keys: SharedKeys, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now > began + 2:
            store.broken = None

    began = clock.now
    monkeypatch.setattr(time, "sleep", sleep)
    store.broken = aws_error("ThrottlingException")
    assert keys.candidates("new") == [SECOND]
    assert 2 < clock.now - began < 4


def test_the_first_read_gives_up_after_a_bounded_time(
    keys: SharedKeys, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        clock.now += seconds

    began = clock.now
    monkeypatch.setattr(time, "sleep", sleep)
    store.broken = aws_error("ThrottlingException")
    with pytest.raises(Unavailable, match=f"reading the token keys {PARAMETER}: ThrottlingException"):
        keys.candidates("new")
    assert clock.now - began < PATIENCE_SECONDS
    store.broken = None
    assert keys.candidates("new") == [SECOND], "the next client has it asked again"


def test_cached_secrets_stay_in_use_while_the_store_does_not_answer(
    keys: SharedKeys, store: Store, clock: Clock, sleeps: Sleeps
) -> None:
    keys.candidates("new")
    store.broken = aws_error("ThrottlingException")
    clock.now += REFRESH_SECONDS + REFRESH_SPREAD_SECONDS
    for _ in range(10):
        assert keys.candidates("new") == [SECOND]
    assert len(store) == 2, "it is left alone for a while"
    assert len(sleeps) == 0, "and nobody waits for it"

    store.broken = None
    store.value = json.dumps({"new": THIRD})
    clock.now += MIN_REFRESH_SECONDS
    assert keys.candidates("new") == [THIRD]


def test_cached_secrets_stay_in_use_for_an_hour_and_no_longer(keys: SharedKeys, store: Store, clock: Clock) -> None:
    keys.candidates("new")
    store.broken = aws_error("ThrottlingException")
    clock.now += SERVE_ON_SECONDS
    assert keys.candidates("new") == [SECOND]
    clock.now += MIN_REFRESH_SECONDS
    with pytest.raises(Unavailable, match="are no longer trusted"):
        keys.candidates("new")
    store.broken = None
    clock.now += MIN_REFRESH_SECONDS
    assert keys.candidates("new") == [SECOND]


@pytest.mark.parametrize("mistake", ["short", aws_error("AccessDeniedException")], ids=["value", "right"])
def test_an_operators_mistake_is_logged_and_cached_secrets_stay_in_use(
    keys: SharedKeys, store: Store, clock: Clock, logged: LogLines, mistake: Any
) -> None:
    keys.candidates("new")
    if isinstance(mistake, str):
        store.value = mistake
    else:
        store.broken = mistake
    clock.now += REFRESH_SECONDS + REFRESH_SPREAD_SECONDS
    assert keys.candidates("new") == [SECOND]
    (line,) = logged.lines
    assert (line["level"], line["message"]) == (
        "ERROR",
        "token keys could not be read again; the cached ones stay in use",
    )
    assert PARAMETER in line["reason"]


@pytest.mark.parametrize("code", ["ParameterNotFound", "AccessDeniedException", "ResourceNotFoundException"])
def test_a_missing_parameter_or_right_is_a_configuration_error(keys: SharedKeys, store: Store, code: str) -> None:
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
        '{"new": 1' + "0" * 5000 + "}",
        "{" * 3000,
        "hunter2",
        "hunter2" * 4,
        '{"new": "hunter2"}',
        '{"new": "' + "hunter2" * 5 + '", "old": "hunter2"}',
        '{"new": "hunter2"',
        "{hunter2}",
    ],
)
def test_an_invalid_value_is_named_by_its_place_and_never_quoted(value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_keys(value, PARAMETER)
    assert PARAMETER in str(caught.value)
    assert "hunter2" not in "".join(map(str, (caught.value, caught.value.__cause__, caught.value.__context__)))


def test_a_valid_value_is_read() -> None:
    assert parse_keys(json.dumps({"new": FIRST}), PARAMETER) == {"new": FIRST}


def test_a_secret_that_can_be_guessed_is_refused_with_advice() -> None:
    good = "x" * 32
    assert parse_keys(good, PARAMETER) == {"": good}
    with pytest.raises(ConfigurationError, match=r"the secret is shorter than 32 bytes .*`openssl rand -base64 48"):
        parse_keys(good[:-1], PARAMETER)
    with pytest.raises(ConfigurationError, match=f"{PARAMETER}: the secret of key id 'weak' is shorter than 32 bytes"):
        parse_keys(json.dumps({"good": good, "weak": "x"}), PARAMETER)


STORM = 300  # instances that start within a second


def storm(reference: str, read: Callable[[FakeStores, VirtualTime], None]) -> tuple[int, float]:
    """Start many new instances; return how many clients are refused, and the longest wait."""
    time_ = VirtualTime()
    stores = FakeStores(json.dumps({"new": FIRST}), time_)
    failed, waited = [], []

    def client() -> None:
        began = time_.now
        try:
            read(stores, time_)
        except (Unavailable, ClientError) as problem:
            failed.append(problem)
        waited.append(time_.now - began)

    for n in range(STORM):
        time_.start(n / STORM, client)
    time_.run()
    assert len(waited) == STORM
    return len(failed), max(waited)


@pytest.mark.parametrize("reference", [PARAMETER, SECRET_ARN])
def test_either_store_serves_a_storm_of_new_instances(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(stores: FakeStores, time_: VirtualTime) -> None:
        monkeypatch.setattr(time, "sleep", time_.sleep)
        assert SharedKeys(stores, reference, time_).candidates("new") == [FIRST]

    refused, longest = storm(reference, read)
    assert refused == 0
    assert longest < PATIENCE_SECONDS
    if reference == SECRET_ARN:
        assert longest == 0


def test_a_storm_of_new_instances_fails_with_botocores_retries_alone() -> None:
    """botocore's standard mode, as the service configured it before: four attempts, up to 1, 2 and 4 s apart."""

    def read(stores: FakeStores, time_: VirtualTime) -> None:
        for attempt in range(4):
            try:
                stores.get_parameter(Name=PARAMETER, WithDecryption=True)
            except ClientError:
                if attempt == 3:
                    raise
                time_.sleep(random.random() * 2**attempt)
            else:
                return

    refused, _ = storm(PARAMETER, read)
    assert refused > 15


def test_instances_try_again_at_different_times_after_a_refresh_that_failed(store: Store, clock: Clock) -> None:
    instances = [SharedKeys(store, PARAMETER, clock) for _ in range(50)]

    def reads() -> int:
        before = len(store)
        for each in instances:
            assert each.candidates("new") == [SECOND]
        return len(store) - before

    reads()
    store.broken = aws_error("ThrottlingException")
    clock.now += REFRESH_SECONDS + REFRESH_SPREAD_SECONDS
    assert reads() == 50
    store.broken = None
    clock.now += MIN_REFRESH_SECONDS / 2 - 0.1
    assert reads() == 0
    clock.now += MIN_REFRESH_SECONDS / 4
    early = reads()
    clock.now += MIN_REFRESH_SECONDS / 4 + 0.1
    assert 0 < early < early + reads() == 50


def test_an_outage_of_the_store_is_logged_with_the_age_of_the_keys(
    keys: SharedKeys, store: Store, clock: Clock, logged: LogLines
) -> None:
    keys.candidates("new")
    store.broken = aws_error("ThrottlingException")
    clock.now += 400
    keys.candidates("new")
    (line,) = logged.lines
    assert (line["level"], line["age"]) == ("WARNING", 400)


def test_keys_of_the_last_two_seconds_are_not_read_again_for_an_unknown_id(
    keys: SharedKeys, store: Store, clock: Clock
) -> None:
    keys.candidates("new")
    clock.now += 2
    assert keys.candidates("made up") == []
    assert len(store) == 1
    clock.now += 0.1
    assert keys.candidates("made up") == []
    assert len(store) == 2


def test_a_hundred_unknown_ids_are_remembered_and_no_more(keys: SharedKeys, clock: Clock) -> None:
    keys.candidates("new")
    clock.now += 10
    for n in range(101):
        assert keys.candidates(f"made up {n}") == []
    clock.now += 10
    for n in range(100):
        assert keys.candidates(f"made up {n}") == []
    with pytest.raises(Unavailable, match="unknown key id"):
        keys.candidates("made up 100")


@pytest.mark.parametrize(
    ("chance", "pauses"),
    [
        ("longest", [0.1, 0.25, 0.5, 1.0]),
        ("shortest", [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_the_pauses_before_the_first_keys_grow_up_to_a_second(
    keys: SharedKeys, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, chance: str, pauses: list[float]
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", max if chance == "longest" else min)
    store.broken = aws_error("ThrottlingException")
    with pytest.raises(Unavailable):
        keys.candidates("new")
    assert slept[:4] == pauses
    assert set(slept[4:]) == {pauses[-1]}
    if chance == "shortest":
        assert len(store) == 40, "and there is a most of attempts"


def test_no_attempt_is_made_at_the_end_of_the_patience(
    keys: SharedKeys, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        clock.now += seconds

    began = clock.now
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", lambda *_: PATIENCE_SECONDS / 4)
    store.broken = aws_error("ThrottlingException")
    with pytest.raises(Unavailable):
        keys.candidates("new")
    assert (clock.now - began, len(store)) == (PATIENCE_SECONDS * 3 / 4, 4)


def test_keys_are_read_again_after_four_minutes_at_the_earliest(
    keys: SharedKeys, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", min)
    keys.candidates("new")
    clock.now += 239.9
    keys.candidates("new")
    assert len(store) == 1
    clock.now = 1000.0 + 240
    keys.candidates("new")
    assert len(store) == 2


def test_one_bare_secret_is_not_read_again_for_a_key_id(clock: Clock) -> None:
    store = Store(FIRST)
    keys = SharedKeys(store, PARAMETER, clock)
    for _ in range(3):
        assert keys.candidates("any") == [FIRST]
        clock.now += 10
    assert len(store) == 1
