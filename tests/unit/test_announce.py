from __future__ import annotations

from typing import Any

import pytest

from realtime.announce import Announcer, read_change
from realtime.errors import ConfigurationError, RealtimeError, Rejected, Unavailable
from realtime.presence import Rules
from realtime.tables.outbox import Entry
from tests.samples import sample
from tests.unit.fakes import FakeBus, FakeOutbox, FakeQueue

CAME, LEFT, WENT, BUSY = (
    sample(f"announce.{name}")["Records"][0]
    for name in ("came-online", "last-connection-left", "went-offline", "became-busy")
)


class Effects:
    """An announcer, and what it does in which order."""

    def __init__(self, *, grace_seconds: int = 10) -> None:
        self.journal: list[str] = []
        self.outbox = FakeOutbox(self.journal)
        self.bus = FakeBus(self.journal)
        self.queue = FakeQueue(self.journal)
        rules = Rules(shards=1, feed_role="listener", history_seconds=3600)
        self.announcer = Announcer(self.outbox, self.bus, self.queue, rules, grace_seconds=grace_seconds)


@pytest.fixture
def effects() -> Effects:
    return Effects()


def test_a_record_is_read_as_a_user_before_and_after() -> None:
    came, went = read_change(CAME), read_change(WENT)
    assert came.old is None
    assert came.new is not None
    assert (came.new.user_id, came.new.is_online) == ("123", True)
    assert came.new.connection_ids == {"RfGx1dQAIAMCIhA="}
    assert went.old is not None
    assert (went.old.is_online, went.old.left_at) == (True, 1_705_314_690_000)


def test_clients_are_told_first_and_backends_last(effects: Effects) -> None:
    effects.announcer.announce([CAME, LEFT])
    assert effects.journal == ["outbox", "queue", "bus"]


def test_a_change_that_everyone_sees_is_recorded_and_told(effects: Effects) -> None:
    report = effects.announcer.announce([CAME])
    assert (report.messages, report.done, report.problem, report.given_up) == (4, 1, None, {})
    assert len(effects.outbox) == 4
    assert "feed/*/0" in effects.outbox
    assert "presence/123" in effects.outbox
    assert [told.detail_type for told in effects.bus.told] == ["user_online"]
    assert len(effects.queue) == 0


def test_who_may_have_left_is_looked_at_again_after_the_grace_period(effects: Effects) -> None:
    assert effects.announcer.announce([LEFT]).messages == 0
    assert effects.queue.sent == [({"check": "offline", "user_id": "123", "left_at": 1_705_314_690_000}, 10, {})]
    assert (len(effects.outbox), len(effects.bus)) == (0, 0)


def test_without_a_grace_period_the_look_comes_at_once() -> None:
    effects = Effects(grace_seconds=0)
    effects.announcer.announce([LEFT])
    assert [delay for _, delay, _ in effects.queue.sent] == [0]


def test_changes_are_announced_in_their_order(effects: Effects) -> None:
    effects.announcer.announce([CAME, BUSY, LEFT, WENT])
    on_feed = [entry.kind for entry in effects.outbox if entry.audience == "feed/*/0"]
    assert on_feed == ["listener_online", "listener_busy", "listener_offline"]
    assert [told.detail_type for told in effects.bus.told] == ["user_online", "user_offline"]


def test_a_user_whom_an_operator_deleted_is_not_spoken_of(effects: Effects) -> None:
    record = sample("announce.came-online")["Records"][0]
    record["dynamodb"]["OldImage"] = record["dynamodb"].pop("NewImage")
    assert effects.announcer.announce([record]).messages == 0
    assert (len(effects.outbox), len(effects.bus), len(effects.queue)) == (0, 0, 0)


def test_what_is_tried_again_has_the_same_ids(effects: Effects) -> None:
    effects.announcer.announce([CAME])
    effects.announcer.announce([CAME])
    half = len(effects.outbox) // 2
    assert effects.outbox.entries[:half] == effects.outbox.entries[half:]
    assert effects.bus.told[0] == effects.bus.told[1]


def of(user_id: str, record: dict[str, Any] = CAME) -> dict[str, Any]:
    """Return a record like another, of this user."""
    shown = record["dynamodb"]
    own = {"user_id": {"S": user_id}}
    images = {name: {**shown[name], **own} for name in ("OldImage", "NewImage") if name in shown}
    return {**record, "dynamodb": {**shown, "Keys": own, **images}}


class Failing(FakeOutbox):
    """An outbox that some users' messages do not get into."""

    def __init__(self, error: Exception, *user_ids: str) -> None:
        super().__init__()
        self.error = error
        self.user_ids = user_ids

    def put_all(self, entries: Any) -> None:
        entries = list(entries)
        if any(entry.audience.endswith(f"/{each}") for entry in entries for each in self.user_ids):
            raise self.error
        super().put_all(entries)


def hindered(effects: Effects, error: Exception, *user_ids: str) -> Effects:
    effects.outbox = effects.announcer._outbox = Failing(error, *user_ids)
    return effects


def told(effects: Effects) -> tuple[set[str], list[str]]:
    """Return the users whom clients, and whom backends were told of."""
    entries: list[Entry] = effects.outbox.entries
    personal = {entry.audience.partition("/")[2] for entry in entries if "*" not in entry.audience}
    return personal, [str(each.detail["user_id"]) for each in effects.bus.told]


UNAVAILABLE = Unavailable("writing to Events: 1 items stayed unprocessed")


def test_backends_are_not_told_what_clients_could_not_be(effects: Effects) -> None:
    report = hindered(effects, UNAVAILABLE, "123").announcer.announce([CAME, LEFT])
    assert (report.done, report.problem, report.given_up) == (0, UNAVAILABLE, {})
    assert effects.journal == []


@pytest.mark.parametrize("error", [UNAVAILABLE, ConfigurationError("writing to Events: AccessDeniedException")])
def test_the_stream_goes_on_with_the_first_record_that_could_not_be_told_now(
    effects: Effects, error: RealtimeError
) -> None:
    report = hindered(effects, error, "2").announcer.announce([of("1"), of("2"), of("3")])
    assert (report.messages, report.done, report.problem, report.given_up) == (4, 1, error, {})
    assert told(effects) == ({"1"}, ["1"])


@pytest.mark.parametrize("error", [Rejected("writing to Events: ValidationException"), OverflowError("year 60000")])
def test_a_record_that_no_try_will_mend_is_given_up_and_the_others_are_told(effects: Effects, error: Exception) -> None:
    report = hindered(effects, error, "2").announcer.announce([of("1"), of("2"), of("3")])
    assert (report.done, report.problem, report.given_up) == (3, None, {1: error})
    assert told(effects) == ({"1", "3"}, ["1", "2", "3"])  # what clients cannot be told, backends can


POISON = {
    "no images at all": {},
    "a user without an id": {"NewImage": {"is_online": {"BOOL": True}}},
    "half of a character": {"NewImage": {**CAME["dynamodb"]["NewImage"], "user_id": {"S": "\ud800"}}},
    "a time beyond all calendars": {"NewImage": {**CAME["dynamodb"]["NewImage"], "changed_at": {"N": str(10**17)}}},
    "a number that is none": {"NewImage": {**CAME["dynamodb"]["NewImage"], "version": {"N": "x"}}},
    "an image that is none": {"NewImage": "x"},
}


@pytest.mark.parametrize("shown", POISON.values(), ids=POISON)
def test_a_record_that_cannot_be_read_or_thought_through_holds_up_no_other(
    effects: Effects, shown: dict[str, Any]
) -> None:
    report = effects.announcer.announce([of("1"), {"dynamodb": shown} if shown else {}, of("3")])
    assert (report.done, report.problem, list(report.given_up)) == (3, None, [1])
    assert told(effects) == ({"1", "3"}, ["1", "3"])
    assert effects.journal == ["outbox", "bus"], "it was clear before anything was written"


@pytest.mark.parametrize("odd", ["\ufffe", "\uffff", "\x00", "\x85", "\U0010ffff"])
def test_a_user_from_before_the_gate_is_told_of_like_any_other(effects: Effects, odd: str) -> None:
    name = {"username": {"S": f"a{odd}"}}
    came, left = of(f"a{odd}"), of(f"a{odd}", LEFT)
    came["dynamodb"]["NewImage"] |= name
    assert effects.announcer.announce([came, left]).given_up == {}
    assert len(effects.queue) == 1
    assert all(odd not in entry.message for entry in effects.outbox)
