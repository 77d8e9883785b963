from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.announce import Announcer, read_change
from realtime.aws.queues import Queue
from realtime.errors import ConfigurationError, RealtimeError, Rejected, Unavailable
from realtime.ids import make_event_id
from realtime.presence import Rules
from realtime.tables.entries import Entry, LateMark
from tests.samples import sample
from tests.unit.fakes import Clock, FakeBus, FakeOutbox, FakeQueue, as_client

CAME, LEFT, WENT, BUSY = (
    sample(f"announce.{name}")["Records"][0]
    for name in ("came-online", "last-connection-left", "went-offline", "became-busy")
)
TRACE_OF_LEFT = "RfHOgHqhoAMFXzg="  # as the sample has it


class AnnouncerFixture:
    """An announcer with fakes that record the order of their calls."""

    def __init__(self, *, grace_seconds: int = 10) -> None:
        self.journal: list[str] = []
        self.clock = Clock(1_705_314_600.0)  # when the samples are set
        self.outbox = FakeOutbox(self.journal)
        self.bus = FakeBus(self.journal)
        self.queue = FakeQueue(self.journal)
        rules = Rules(shards=1, feed_role="listener", history_seconds=3600)
        self.announcer = Announcer(
            self.outbox, self.bus, self.queue, rules, grace_seconds=grace_seconds, clock=self.clock
        )


@pytest.fixture(name="fixture")
def _fixture() -> AnnouncerFixture:
    return AnnouncerFixture()


def test_a_record_is_read_as_the_user_before_and_after_the_change() -> None:
    came, went = read_change(CAME), read_change(WENT)
    assert came.old is None
    assert came.new is not None
    assert (came.new.user_id, came.new.is_online) == ("123", True)
    assert came.new.connection_ids == {"RfGx1dQAIAMCIhA="}
    assert went.old is not None
    assert (went.old.is_online, went.old.left_at_ms) == (True, 1_705_314_690_000)


def test_changes_go_to_clients_first_and_to_backends_last(fixture: AnnouncerFixture) -> None:
    fixture.announcer.announce([CAME, LEFT])
    assert fixture.journal == ["outbox", "queue", "bus"]


def test_the_checks_of_all_who_left_are_ordered_in_one_call(fixture: AnnouncerFixture) -> None:
    calls: list[list[tuple[str, int]]] = []

    class Sqs:
        def send_message_batch(self, **request: Any) -> dict[str, Any]:
            entries = request["Entries"]
            calls.append([(json.loads(each["MessageBody"])["user_id"], each["DelaySeconds"]) for each in entries])
            return {}

    rules = Rules(shards=1, feed_role="listener", history_seconds=3600)
    queue = Queue(as_client(Sqs()), "https://sqs")
    announcer = Announcer(fixture.outbox, fixture.bus, queue, rules, grace_seconds=10, clock=fixture.clock)
    left = [{**LEFT, "dynamodb": json.loads(json.dumps(LEFT["dynamodb"]).replace('"123"', f'"{n}"'))} for n in range(3)]
    announcer.announce([CAME, *left])
    assert calls == [[("0", 10), ("1", 10), ("2", 10)]]


def test_a_visible_change_is_recorded_for_clients_and_sent_to_backends(fixture: AnnouncerFixture) -> None:
    report = fixture.announcer.announce([CAME])
    assert (report.messages, report.done, report.problem, report.given_up) == (1, 1, None, {})
    assert len(fixture.outbox) == 4
    assert "feed/*/0" in fixture.outbox
    assert "presence/123" in fixture.outbox
    assert [event.detail_type for event in fixture.bus.told] == ["user_online"]
    assert len(fixture.queue) == 0


def test_a_user_who_may_have_left_is_checked_after_the_grace_period(fixture: AnnouncerFixture) -> None:
    assert fixture.announcer.announce([LEFT]).messages == 0
    assert fixture.queue.sent == [
        ({"check": "offline", "user_id": "123", "left_at": 1_705_314_690_000, "trace_id": TRACE_OF_LEFT}, 10, {})
    ]
    assert (len(fixture.outbox), len(fixture.bus)) == (0, 0)


def test_without_a_grace_period_the_check_comes_at_once() -> None:
    fixture = AnnouncerFixture(grace_seconds=0)
    fixture.announcer.announce([LEFT])
    assert [delay for _, delay, _ in fixture.queue.sent] == [0]


def test_changes_are_announced_in_their_order(fixture: AnnouncerFixture) -> None:
    fixture.announcer.announce([CAME, BUSY, LEFT, WENT])
    on_feed = [entry.kind for entry in fixture.outbox if entry.audience == "feed/*/0"]
    assert on_feed == ["listener_online", "listener_busy", "listener_offline"]
    assert [event.detail_type for event in fixture.bus.told] == ["user_online", "user_offline"]


def test_a_deleted_user_is_not_announced(fixture: AnnouncerFixture) -> None:
    record = sample("announce.came-online")["Records"][0]
    record["dynamodb"]["OldImage"] = record["dynamodb"].pop("NewImage")
    report = fixture.announcer.announce([record])
    assert (report.messages, report.done, report.given_up) == (0, 1, {})
    assert (len(fixture.outbox), len(fixture.bus), len(fixture.queue)) == (0, 0, 0)


def test_a_batch_that_is_tried_again_has_the_same_ids(fixture: AnnouncerFixture) -> None:
    fixture.announcer.announce([CAME])
    fixture.announcer.announce([CAME])
    half = len(fixture.outbox) // 2
    assert fixture.outbox.entries[:half] == fixture.outbox.entries[half:]
    assert fixture.bus.told[0] == fixture.bus.told[1]


@pytest.mark.parametrize(("behind_s", "is_marked"), [(0.0, False), (9.9, False), (10.1, True), (7200.0, True)])
def test_a_change_that_is_recorded_late_is_marked_first(
    fixture: AnnouncerFixture, behind_s: float, is_marked: bool
) -> None:
    came = read_change(CAME).new
    assert came is not None
    fixture.clock.now = came.changed_at_ms / 1000
    came_ms = came.changed_at_ms
    fixture.clock.now += behind_s
    fixture.announcer.announce([CAME, record_of("5")])
    at_ms = came_ms + int(behind_s * 1000)
    mark = LateMark("presence/*/0", make_event_id(at_ms, "late"), at_ms // 1000 + 3600)
    assert fixture.outbox.marks == ([mark] if is_marked else [])
    assert fixture.journal == ["outbox"] * (1 + is_marked) + ["bus"]


def record_of(user_id: str, record: dict[str, Any] = CAME) -> dict[str, Any]:
    """Return a copy of a record for another user."""
    change = record["dynamodb"]
    own = {"user_id": {"S": user_id}}
    images = {name: {**change[name], **own} for name in ("OldImage", "NewImage") if name in change}
    return {**record, "dynamodb": {**change, "Keys": own, **images}}


class FailingOutbox(FakeOutbox):
    """An outbox that raises an error for messages about these users."""

    def __init__(self, error: Exception, *user_ids: str) -> None:
        super().__init__()
        self.error = error
        self.user_ids = user_ids

    def put_all(self, entries: Any) -> None:
        entries = list(entries)
        if any(change.subject in self.user_ids for change in entries):
            raise self.error
        super().put_all(entries)


def with_failing_outbox(fixture: AnnouncerFixture, error: Exception, *user_ids: str) -> AnnouncerFixture:
    fixture.outbox = fixture.announcer._outbox = FailingOutbox(error, *user_ids)
    return fixture


def announced(fixture: AnnouncerFixture) -> tuple[set[str], list[str]]:
    """Return the users announced to clients, and those announced to backends."""
    entries: list[Entry] = fixture.outbox.entries
    personal = {entry.audience.partition("/")[2] for entry in entries if "*" not in entry.audience}
    return personal, [str(each.detail["user_id"]) for each in fixture.bus.told]


UNAVAILABLE = Unavailable("writing to Events: 1 items stayed unprocessed")


def test_backends_get_nothing_while_clients_cannot_get_it(fixture: AnnouncerFixture) -> None:
    report = with_failing_outbox(fixture, UNAVAILABLE, "123").announcer.announce([CAME, LEFT])
    assert (report.done, report.problem, report.given_up) == (0, UNAVAILABLE, {})
    assert fixture.journal == []


@pytest.mark.parametrize("error", [UNAVAILABLE, ConfigurationError("writing to Events: AccessDeniedException")])
def test_the_stream_continues_at_the_first_record_that_failed_for_now(
    fixture: AnnouncerFixture, error: RealtimeError
) -> None:
    report = with_failing_outbox(fixture, error, "2").announcer.announce(
        [record_of("1"), record_of("2"), record_of("3")]
    )
    assert (report.messages, report.done, report.problem, report.given_up) == (1, 1, error, {})
    assert announced(fixture) == ({"1"}, ["1"])


@pytest.mark.parametrize("error", [Rejected("writing to Events: ValidationException"), OverflowError("year 60000")])
def test_a_record_that_would_fail_every_time_is_given_up_and_the_others_are_announced(
    fixture: AnnouncerFixture, error: Exception
) -> None:
    report = with_failing_outbox(fixture, error, "2").announcer.announce(
        [record_of("1"), record_of("2"), record_of("3")]
    )
    assert (report.done, report.problem, report.given_up) == (3, None, {1: error})
    assert announced(fixture) == (
        {"1", "3"},
        ["1", "2", "3"],
    )  # backends get the event even if clients cannot get the message


UNREADABLE = {
    "no images at all": {},
    "a user without an id": {"NewImage": {"is_online": {"BOOL": True}}},
    "half of a character": {"NewImage": {**CAME["dynamodb"]["NewImage"], "user_id": {"S": "\ud800"}}},
    "a time beyond all calendars": {"NewImage": {**CAME["dynamodb"]["NewImage"], "changed_at": {"N": str(10**17)}}},
    "an invalid number": {"NewImage": {**CAME["dynamodb"]["NewImage"], "version": {"N": "x"}}},
    "an invalid image": {"NewImage": "x"},
}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_record_does_not_hold_up_the_others(fixture: AnnouncerFixture, change: dict[str, Any]) -> None:
    report = fixture.announcer.announce([record_of("1"), {"dynamodb": change} if change else {}, record_of("3")])
    assert (report.done, report.problem, list(report.given_up)) == (3, None, [1])
    assert isinstance(report.given_up[1], Exception)
    assert announced(fixture) == ({"1", "3"}, ["1", "3"])
    assert fixture.journal == ["outbox", "bus"], "the record was given up before anything was written"


@pytest.mark.parametrize("odd", ["\ufffe", "\uffff", "\x00", "\x85", "\U0010ffff"])
def test_a_stored_user_with_unstorable_characters_is_announced_like_any_other(
    fixture: AnnouncerFixture, odd: str
) -> None:
    name = {"username": {"S": f"a{odd}"}}
    came, left = record_of(f"a{odd}"), record_of(f"a{odd}", LEFT)
    came["dynamodb"]["NewImage"] |= name
    assert fixture.announcer.announce([came, left]).given_up == {}
    assert len(fixture.queue) == 1
    assert all(odd not in entry.message for entry in fixture.outbox)


def test_a_batch_that_failed_once_is_announced_record_by_record(fixture: AnnouncerFixture) -> None:
    errors = [UNAVAILABLE]

    class FailingOnce(FakeOutbox):
        def put_all(self, entries: Any) -> None:
            if errors:
                raise errors.pop()
            super().put_all(entries)

    fixture.outbox = fixture.announcer._outbox = FailingOnce()
    report = fixture.announcer.announce([record_of("1"), record_of("2")])
    assert (report.messages, report.done, report.problem, report.given_up) == (2, 2, None, {})
    assert announced(fixture) == ({"1", "2"}, ["1", "2"])
