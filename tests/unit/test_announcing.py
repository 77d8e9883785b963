from __future__ import annotations

import pytest

from realtime.announcing import Announcer, Change, read
from realtime.errors import Unavailable
from realtime.presence import Rules
from tests.samples import sample
from tests.unit.fakes import FakeBus, FakeOutbox, FakeQueue

CAME, LEFT, WENT, BUSY = (
    read(sample(f"announce.{name}")["Records"][0])
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
    assert CAME.old is None
    assert CAME.new is not None
    assert (CAME.new.user_id, CAME.new.is_online) == ("123", True)
    assert CAME.new.connection_ids == {"RfGx1dQAIAMCIhA="}
    assert WENT.old is not None
    assert (WENT.old.is_online, WENT.old.left_at) == (True, 1_705_314_690_000)


def test_clients_are_told_first_and_backends_last(effects: Effects) -> None:
    effects.announcer.announce([CAME, LEFT])
    assert effects.journal == ["outbox", "queue", "bus"]


def test_a_change_that_everyone_sees_is_recorded_and_told(effects: Effects) -> None:
    assert effects.announcer.announce([CAME]) == len(effects.outbox) == 4
    assert "feed/*/0" in effects.outbox
    assert "presence/123" in effects.outbox
    assert [told.detail_type for told in effects.bus.told] == ["user_online"]
    assert len(effects.queue) == 0


def test_who_may_have_left_is_looked_at_again_after_the_grace_period(effects: Effects) -> None:
    assert effects.announcer.announce([LEFT]) == 0
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
    assert effects.announcer.announce([Change(CAME.new, None)]) == 0
    assert (len(effects.outbox), len(effects.bus), len(effects.queue)) == (0, 0, 0)


def test_backends_are_not_told_what_clients_could_not_be(effects: Effects, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_entries: object) -> None:
        raise Unavailable("writing to Events: 1 items stayed unprocessed")

    monkeypatch.setattr(effects.outbox, "put_all", fail)
    with pytest.raises(Unavailable):
        effects.announcer.announce([CAME, LEFT])
    assert effects.journal == []


def test_what_is_tried_again_has_the_same_ids(effects: Effects) -> None:
    effects.announcer.announce([CAME])
    effects.announcer.announce([CAME])
    half = len(effects.outbox) // 2
    assert effects.outbox.entries[:half] == effects.outbox.entries[half:]
    assert effects.bus.told[0] == effects.bus.told[1]
