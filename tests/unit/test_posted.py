from __future__ import annotations

import pytest

from realtime import posted
from realtime.errors import Unavailable
from realtime.ids import make_event_id
from realtime.positions import SLICE_MS, SLICES, Position
from realtime.posted import MANY, Posted, SharedPositions
from tests.unit.fakes import FakePosted

NOW = 1_705_314_600_000
MINE, EVERYONES = "calls/123", "notifications/*/0"


def events(*numbers: int, audience: str = MINE) -> list[tuple[str, str]]:
    return [(audience, make_event_id(NOW + number, "x")) for number in numbers]


def claims(positions: SharedPositions, batch: list[tuple[str, str]], audience: str = MINE) -> list[set[int]]:
    """Return for each event of a batch which of the events 0 to 9 its position includes."""
    ids = {event_id: number for number, (_, event_id) in enumerate(events(*range(10), audience=audience))}
    found = []
    for position in positions.of(batch):
        assert position is not None
        missing = Position.parse(position[audience]).missing(ids)
        found.append({number for event_id, number in ids.items() if event_id not in missing})
    return found


def test_each_event_of_a_batch_includes_those_before_it() -> None:
    assert claims(SharedPositions(FakePosted()), events(1, 3, 2)) == [{1}, {1, 3}, {1, 2, 3}]


def test_an_event_that_appears_twice_counts_once() -> None:
    assert claims(SharedPositions(FakePosted()), events(1, 1)) == [{1}, {1}]


def test_what_is_done_counts_for_the_next_batch_and_what_was_handed_back_does_not() -> None:
    positions = SharedPositions(FakePosted())
    batch = events(1, 2, 3)
    positions.of(batch)
    positions.keep(batch, 1, NOW // 1000)
    assert claims(positions, events(2, 3)) == [{1, 2}, {1, 2, 3}]


def test_audiences_count_for_themselves() -> None:
    positions = SharedPositions(FakePosted())
    batch = [*events(1), *events(2, audience="calls/7")]
    one, two = positions.of(batch)
    assert one is not None
    assert two is not None
    assert [*one, *two] == [MINE, "calls/7"]
    assert [Position.parse(*each.values()).highest for each in (one, two)] == [event_id for _, event_id in batch]


@pytest.mark.parametrize("event", [("connection/abc", make_event_id(NOW, "x")), (MINE, "an id of somebody else")])
def test_an_event_that_cannot_be_replayed_brings_no_position(event: tuple[str, str]) -> None:
    noted = FakePosted()
    positions = SharedPositions(noted)
    batch = [event] * MANY
    assert positions.of(batch) == [None] * MANY
    positions.keep(batch, MANY, NOW // 1000)
    assert len(noted) == 0


def test_ids_older_than_the_slices_are_forgotten() -> None:
    known = Posted(make_event_id(NOW, "x"))
    known.add(make_event_id(NOW, "x"))
    newer = make_event_id(NOW + SLICE_MS * SLICES, "x")
    known.add(newer)
    assert known.position() == Posted.of(newer, [newer]).position()
    known.add(make_event_id(NOW, "late"))
    assert known.position() == Posted.of(newer, [newer]).position()


def test_an_audience_with_too_many_ids_is_forgotten_but_for_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posted, "_MAX_IDS", 3)
    positions = SharedPositions(FakePosted())
    assert claims(positions, events(*range(5)))[-1] == {3, 4}


def test_the_least_recently_used_audience_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posted, "_MAX_AUDIENCES", 2)
    positions = SharedPositions(FakePosted())
    for audience in ("calls/1", "calls/2", "calls/1", "calls/3"):
        positions.keep(events(1, audience=audience), 1, NOW // 1000)
    assert claims(positions, events(2, audience="calls/1"), "calls/1") == [{1, 2}]
    assert claims(positions, events(2, audience="calls/2"), "calls/2") == [{2}]


def test_another_instance_knows_what_was_posted_to_an_audience_with_many_events() -> None:
    noted = FakePosted()
    one, two = SharedPositions(noted), SharedPositions(noted)
    for instance, batch in ((one, events(0, 1, 2)), (two, events(3, 4, 5))):
        instance.of(batch)
        instance.keep(batch, 3, NOW // 1000)
    assert claims(one, events(6, 7, 8)) == [{*range(7)}, {*range(8)}, {*range(9)}]


def test_an_instance_adds_what_it_alone_knows() -> None:
    noted = FakePosted()
    one, two = SharedPositions(noted), SharedPositions(noted)
    one.keep(events(0, 1, 2), 3, NOW // 1000)
    one.keep(events(3), 1, NOW // 1000)  # too few to be noted
    assert claims(one, events(4, 5, 6))[0] == {0, 1, 2, 3, 4}
    assert claims(two, events(4, 5, 6))[0] == {0, 1, 2, 4}


def test_a_batch_whose_end_nobody_learnt_of_is_not_counted_twice() -> None:
    noted = FakePosted()
    SharedPositions(noted).keep(events(0, 1, 2), 3, NOW // 1000)
    again = SharedPositions(noted)
    assert claims(again, events(0, 1, 2, 3))[-1] == {0, 1, 2, 3}


def test_few_events_cost_no_read_and_no_write_unless_they_are_notifications_for_everyone() -> None:
    noted = FakePosted()
    positions = SharedPositions(noted)
    for audience in (MINE, "feed/*/0", EVERYONES):
        positions.keep(events(1, 2, audience=audience), 2, NOW // 1000)
    assert noted.noted.keys() == {EVERYONES}
    noted.error = Unavailable("must not be read")
    assert claims(positions, events(3)) == [{1, 2, 3}]


def test_without_the_table_an_instance_goes_on_with_what_it_knows() -> None:
    noted = FakePosted(Unavailable("no table"))
    positions = SharedPositions(noted)
    positions.keep(events(0, 1, 2), 3, NOW // 1000)
    assert claims(positions, events(3, 4, 5))[0] == {0, 1, 2, 3}
