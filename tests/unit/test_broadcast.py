from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from realtime.broadcast import Broadcaster, Report, read, read_all
from realtime.errors import ConfigurationError, Unavailable
from realtime.ids import make_event_id
from realtime.posting.poster import Delivery, Outcome
from realtime.tables.connections import Subscriber
from realtime.tables.outbox import Entry, Unreadable
from realtime.tables.registry import FORGOTTEN_TOGETHER, Gone
from tests.samples import names, sample
from tests.unit.fakes import FakeConnections, FakeManagement, FakeRegistry

NOW = 1_705_314_600.25


def record(audience: str, message: str, *, kind: str = "call_started", **more: Any) -> Entry:
    """Return what a record of the stream shows."""
    return Entry(audience, f"id of {message}", kind, message, expires_at=int(NOW) + 60, **more)


def subscriber(connection_id: str, user_id: str = "123", *, batch: bool = False, types: str = "") -> Subscriber:
    connected_at = int(NOW * 1000) - 60_000
    return Subscriber(connection_id, user_id, connected_at, frozenset(types.split()), batch=batch)


class World:
    """A fan-out to connections by the audiences they hear, each audience given as pages or as one page."""

    def __init__(self, outcomes: dict[str, Outcome] | None = None, room: int | None = None, **more: Any) -> None:
        self.management = FakeManagement(outcomes, room=room)
        self.registry = FakeRegistry(more.get("forget_error"))
        self.pages: dict[str, list[list[Subscriber]]] = {}
        self.connections = FakeConnections(self.pages)

    def hears(self, audience: str, *pages: list[Subscriber]) -> World:
        self.pages[audience] = list(pages)
        return self

    def broadcast(self, *records: Entry) -> Report:
        fanout = Broadcaster(self.connections, self.registry, self.management)
        return fanout.broadcast(records, now=NOW, until=1e9, forget_until=1e9)

    def heard(self) -> dict[str, list[str]]:
        """Return the frames that each connection was sent, in order."""
        heard: dict[str, list[str]] = {}
        for each in self.management.deliveries:
            heard.setdefault(each.connection_id, []).extend(bodies(each))
        return heard


def bodies(delivery: Delivery) -> list[str]:
    return [frame.body.decode() for frame in delivery.frames]


def test_every_sample_record_can_be_read() -> None:
    records = [read(each) for name in names("broadcast") for each in sample(name)["Records"]]
    assert {each.audience for each in records} >= {"calls/123", "calls/789", "feed/*/0"}
    assert [each.hidden_from for each in records if each.audience == "feed/*/0"] == [frozenset({"666"})]
    assert [each.endpoint for each in records if each.close] == ["feed"]


POISONS: dict[str, dict[str, Any]] = {
    "no audience": {"audience": None},
    "no kind": {"kind": None},
    "a message that is a number": {"message": {"N": "1"}},
    "a type that is a set": {"kind": {"SS": ["a"]}},
    "an id that is a number": {"event_id": {"N": "1"}},
    "an end that is text": {"not_after": {"S": "soon"}},
    "an end that is no whole number": {"not_after": {"N": "1.5"}},
    "users that are no set": {"hidden_from": {"S": "666"}},
    "other users that are no set": {"shown_to": {"S": "666"}},
    "an age that is text": {"connected_at": {"S": "long ago"}},
    "a subject that is a number": {"subject": {"N": "7"}},
    "an attribute of two types": {"kind": {"S": "a", "N": "1"}},
    "a direct message without endpoint": {"audience": {"S": "connection/one"}},
    "a direct message for no endpoint": {"audience": {"S": "connection/one"}, "endpoint": {"S": "prod"}},
}


@pytest.mark.parametrize("changes", POISONS.values(), ids=POISONS)
def test_what_our_functions_do_not_write_cannot_be_read(changes: dict[str, Any]) -> None:
    (good,) = sample("broadcast.watched")["Records"]
    (bad,) = sample("broadcast.watched")["Records"]
    image = bad["dynamodb"]["NewImage"]
    bad["dynamodb"]["NewImage"] = {name: value for name, value in (image | changes).items() if value is not None}
    with pytest.raises(Unreadable, match=r"018d0cabc5d06bba19c395fdaeb5"):
        read(bad)
    reading = read_all([good, bad, good, bad])
    assert reading.entries == {0: read(good), 2: read(good)}
    assert reading.unreadable.keys() == {1, 3}
    assert [reading.done(entries) for entries in range(3)] == [0, 2, 4]


@pytest.mark.parametrize("record", [{}, {"dynamodb": {}}, {"dynamodb": {"Keys": {}, "NewImage": None}}])
def test_what_is_no_record_cannot_be_read(record: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(record)


def test_what_a_redrive_adds_is_no_hindrance() -> None:
    (record,) = sample("broadcast.watched")["Records"]
    before = read(record)
    record["dynamodb"]["NewImage"]["redriven"] = {"N": "1"}
    assert read(record) == before


def test_an_event_goes_to_all_connections_of_its_audience_and_to_no_other() -> None:
    world = World().hears("calls/123", [subscriber("one"), subscriber("two")]).hears("calls/789", [subscriber("three")])
    assert world.broadcast(record("calls/123", "A")) == Report(Counter({Outcome.DELIVERED: 2}), done=1)
    assert world.heard() == {"one": ["A"], "two": ["A"]}


def test_the_events_of_a_connection_are_one_delivery_in_their_order() -> None:
    world = World().hears("calls/123", [subscriber("one")]).hears("calls/789", [subscriber("two")])
    world.broadcast(record("calls/123", "A"), record("calls/789", "B"), record("calls/123", "C"))
    assert world.heard() == {"one": ["A", "C"], "two": ["B"]}


def test_all_pages_of_an_audience_are_read() -> None:
    pages = [[subscriber(f"{page}-{n}") for n in range(3)] for page in range(3)]
    world = World().hears("feed/*/0", *pages).hears("calls/1", *pages)
    world.broadcast(record("feed/*/0", "A"))
    assert len(world.management) == 9
    world.broadcast(record("calls/1", "B"))
    assert len(world.management) == 18


def test_a_connection_that_was_found_by_several_narrow_audiences_gets_one_delivery_in_order() -> None:
    both = subscriber("both")
    world = World().hears("feed/1", [both, subscriber("one")]).hears("feed/2", [both])
    world.broadcast(record("feed/1", "A"), record("feed/2", "B"), record("connection/both", "C", endpoint="feed"))
    assert world.heard() == {"both": ["A", "B", "C"], "one": ["A"]}


def test_who_is_told_of_a_call_does_not_wait_behind_all_of_the_feed() -> None:
    world = World().hears("feed/*/0", [subscriber("a"), subscriber("b")]).hears("calls/123", [subscriber("c")])
    world.broadcast(record("feed/*/0", "on", kind="listener_online"), record("calls/123", "call"))
    assert [each.connection_id for each in world.management.deliveries] == ["c", "a", "b"]


def test_an_audience_is_read_once_for_all_its_events() -> None:
    world = World()
    world.broadcast(*(record(audience, message) for message in "ABC" for audience in ("feed/*/0", "calls/1")))
    assert sorted(world.connections.read) == ["calls/1", "feed/*/0"]


def test_the_stage_is_the_endpoint() -> None:
    world = World().hears("calls/123", [subscriber("one")]).hears("feed/*/3", [subscriber("two")])
    world.broadcast(
        record("calls/123", "A"), record("feed/*/3", "B"), record("connection/three", "C", endpoint="presence")
    )
    assert {each.connection_id: each.endpoint for each in world.management.deliveries} == {
        "one": "calls",
        "two": "feed",
        "three": "presence",
    }


def test_times_are_told_in_the_units_of_the_management_api() -> None:
    world = World().hears("calls/123", [subscriber("old")])
    world.broadcast(record("calls/123", "A"), record("connection/new", "B", endpoint="feed"))
    assert world.management.to("old").connected_at == pytest.approx(NOW - 60)
    assert world.management.to("new").connected_at == pytest.approx(NOW)  # so that its 410 is not yet believed


def test_who_wants_some_types_hears_those_alone() -> None:
    world = World().hears(
        "notifications/*/0",
        [subscriber("picky", types="favorite_added user_blocked"), subscriber("deaf", types="user_unblocked")],
    )
    world.broadcast(
        record("notifications/*/0", "A", kind="favorite_added"),
        record("notifications/*/0", "B", kind="system_notification"),
        record("notifications/*/0", "C", kind="user_blocked"),
    )
    assert world.heard() == {"picky": ["A", "C"]}


def test_a_blocked_user_gets_no_message_of_the_blocker() -> None:
    world = World().hears("feed/*/0", [subscriber("blocked", "666"), subscriber("other", "5")])
    world.broadcast(record("feed/*/0", "A", hidden_from=frozenset({"666", "667"})), record("feed/*/0", "B"))
    assert world.heard() == {"blocked": ["B"], "other": ["A", "B"]}


def test_what_is_for_some_users_alone_is_heard_by_nobody_else() -> None:
    world = World().hears("feed/*/0", [subscriber("unblocked", "666"), subscriber("other", "5")])
    world.broadcast(record("feed/*/0", "A", shown_to=frozenset({"666", "667"})), record("feed/*/0", "B"))
    assert world.heard() == {"unblocked": ["A", "B"], "other": ["B"]}


def test_a_record_that_the_stream_shows_twice_is_sent_once() -> None:
    world = World().hears("calls/123", [subscriber("one")])
    world.broadcast(record("calls/123", "A"), record("calls/123", "B"), record("calls/123", "A"))
    assert world.heard() == {"one": ["A", "B"]}


def test_a_direct_message_goes_to_its_connection_whether_registered_or_not_and_closes_it() -> None:
    world = World()
    world.broadcast(record("connection/one", "A", kind="error", endpoint="feed", close=True))
    assert world.heard() == {"one": ["A"]}
    assert world.management.to("one").close


def test_only_who_is_to_be_closed_is_closed() -> None:
    world = World().hears("feed/*/0", [subscriber("one"), subscriber("two")])
    world.broadcast(record("feed/*/0", "A"), record("connection/one", "B", endpoint="feed", close=True))
    assert world.heard() == {"one": ["B", "A"], "two": ["A"]}
    assert [each.connection_id for each in world.management.deliveries if each.close] == ["one"]


def test_no_filter_keeps_a_direct_message_from_its_connection() -> None:
    """A session that was revoked must end, whatever types it wants and whatever else happens at the same time."""
    world = World().hears("notifications/123", [subscriber("one", "123", types="favorite_added")])
    world.broadcast(
        record("notifications/123", "A", kind="favorite_added"),
        record("notifications/123", "B", kind="user_blocked"),
        record("connection/one", "C", kind="error", endpoint="notifications", close=True),
    )
    assert world.heard() == {"one": ["A", "C"]}
    assert world.management.to("one").close


def test_a_direct_message_lifts_no_filter_of_its_connection() -> None:
    world = World().hears("feed/7", [subscriber("one", "666")])
    world.broadcast(
        record("feed/7", "A", hidden_from=frozenset({"666"})), record("connection/one", "B", endpoint="feed")
    )
    assert world.heard() == {"one": ["B"]}


def test_how_old_a_connection_is_that_is_addressed_directly_is_told_where_it_is_known() -> None:
    world = World()
    known = record("connection/one", "A", endpoint="feed", connected_at=5_000)
    world.broadcast(known, record("connection/two", "B", endpoint="feed"))
    assert world.management.to("one").connected_at == 5
    assert world.management.to("two").connected_at == int(NOW * 1000) / 1000


def test_how_long_a_message_is_worth_hearing_goes_with_it() -> None:
    world = World().hears("calls/123", [subscriber("one")])
    world.broadcast(record("calls/123", "A", not_after=1_705_314_610), record("calls/123", "B"))
    assert [frame.not_after for frame in world.management.to("one").frames] == [1_705_314_610, None]


def test_who_takes_batches_gets_arrays() -> None:
    world = World().hears("feed/*/0", [subscriber("batched", batch=True), subscriber("plain")])
    world.broadcast(record("feed/*/0", '{"n":1}'), record("feed/*/0", '{"n":2}'))
    assert world.heard() == {"batched": ['[{"n":1},{"n":2}]'], "plain": ['{"n":1}', '{"n":2}']}


def test_who_takes_batches_gets_a_single_message_as_it_is() -> None:
    world = World().hears("feed/*/0", [subscriber("batched", batch=True)])
    world.broadcast(record("feed/*/0", '{"n":1}'))
    assert world.heard() == {"batched": ['{"n":1}']}


def test_of_states_of_one_user_that_come_together_the_last_is_enough_in_a_batch() -> None:
    world = World().hears("feed/*/0", [subscriber("batched", batch=True), subscriber("plain")])
    states = [
        record("feed/*/0", message, kind=kind, subject=subject)
        for message, kind, subject in (
            ("1", "listener_busy", "7"),
            ("2", "listener_busy", "8"),
            ("3", "listener_busy", "7"),
            ("4", "listener_online", "7"),
        )
    ]
    world.broadcast(*states)
    assert world.heard() == {"batched": ["[2,3,4]"], "plain": ["1", "2", "3", "4"]}


def test_no_state_is_left_out_for_one_that_its_hearer_may_not_hear() -> None:
    world = World().hears("feed/*/0", [subscriber("blocked", "666", batch=True), subscriber("other", "5", batch=True)])
    world.broadcast(
        record("feed/*/0", "1", kind="listener_busy", subject="7"),
        record("feed/*/0", "2", kind="listener_busy", subject="7", hidden_from=frozenset({"666"})),
    )
    assert world.heard() == {"blocked": ["1"], "other": ["2"]}


def test_frames_are_made_once_for_all_who_hear_the_same() -> None:
    world = World().hears("feed/*/0", [subscriber("one"), subscriber("two"), subscriber("three", batch=True)])
    world.broadcast(record("feed/*/0", "A"), record("feed/*/0", "B"))
    one, two = world.management.to("one"), world.management.to("two")
    assert one.frames is two.frames


def test_a_connection_that_is_gone_is_forgotten_and_holds_up_nobody() -> None:
    world = World({"gone": Outcome.GONE}).hears("calls/123", [subscriber("gone"), subscriber("here")])
    report = world.broadcast(record("calls/123", "A"))
    assert world.registry.forgotten == ["gone"]
    assert world.heard()["here"] == ["A"]
    assert report.done == 1


def test_of_a_connection_that_hears_a_wide_audience_nothing_need_be_looked_up_to_forget_it() -> None:
    world = World(dict.fromkeys(["feed", "own", "watching"], Outcome.GONE))
    world.hears("feed/*/0", [subscriber("feed")]).hears("notifications/*/3", [subscriber("own")])
    world.hears("feed/7", [subscriber("watching")])
    world.broadcast(*(record(audience, "A") for audience in ("feed/*/0", "notifications/*/3", "feed/7")))
    assert sorted(world.registry.gone, key=lambda each: each.connection_id) == [
        Gone("feed", "123", ["connection/feed", "feed/*/0"]),
        Gone("own", "123", ["connection/own", "notifications/*/3", "notifications/123"]),
        Gone("watching"),
    ]


def test_of_a_connection_that_may_live_all_that_it_hears_is_looked_up_to_forget_it() -> None:
    world = World({"one": Outcome.FAILED}).hears("feed/*/0", [subscriber("one")])
    world.management.unclosable.add("one")
    world.broadcast(record("feed/*/0", "A"))
    assert world.registry.gone == [Gone("one", may_live=True)]


def test_many_connections_that_are_gone_are_all_forgotten() -> None:
    names = [f"gone {number}" for number in range(3 * FORGOTTEN_TOGETHER + 1)]
    world = World(dict.fromkeys(names, Outcome.GONE)).hears("feed/*/0", [subscriber(name) for name in names])
    world.broadcast(record("feed/*/0", "A"))
    assert sorted(world.registry.forgotten) == sorted(names)


def test_a_connection_that_cannot_be_forgotten_is_counted_and_holds_up_nobody() -> None:
    trouble = Unavailable("writing to Connections: ThrottlingException")
    world = World({"gone": Outcome.GONE}, forget_error=trouble)
    world.hears("calls/123", [subscriber("gone"), subscriber("here")])
    report = world.broadcast(record("calls/123", "A"))
    assert report.done == 1
    assert report.problem is None
    assert report.unforgotten == {"Unavailable: writing to Connections: ThrottlingException": 1}


def test_when_no_time_is_left_to_forget_the_next_to_post_will() -> None:
    held = threading.Event()
    world = World({"gone": Outcome.GONE}).hears("calls/123", [subscriber("gone")])
    world.registry.forget_all = lambda gone, now: {str(held.wait()): Unavailable()}  # type: ignore[method-assign]
    fanout = Broadcaster(world.connections, world.registry, world.management)
    report = fanout.broadcast([record("calls/123", "A")], now=NOW, until=1e9, forget_until=0.0)
    held.set()
    assert report.done == 1
    assert sum(report.unforgotten.values()) == 1


@pytest.mark.parametrize("outcome", [each for each in Outcome if each not in {Outcome.GONE, Outcome.FORBIDDEN}])
def test_only_a_connection_that_is_gone_is_forgotten(outcome: Outcome) -> None:
    world = World({"one": outcome}).hears("calls/123", [subscriber("one")])
    world.broadcast(record("calls/123", "A"))
    assert len(world.registry) == 0


@pytest.mark.parametrize("outcome", [Outcome.CLOSED, Outcome.EXPIRED, Outcome.TOO_LARGE, Outcome.NOT_YET_OPEN])
def test_what_one_connection_could_not_be_sent_is_not_sent_again_to_all(outcome: Outcome) -> None:
    world = World({"one": outcome}).hears("calls/123", [subscriber("one"), subscriber("two")])
    report = world.broadcast(record("calls/123", "A"))
    assert report == Report(Counter({outcome: 1, Outcome.DELIVERED: 1}), done=1)


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.FAILED])
def test_who_was_still_waiting_for_a_better_moment_when_time_ran_out_is_served_with_the_next_try(
    outcome: Outcome,
) -> None:
    world = World({"one": outcome}).hears("calls/123", [subscriber("one"), subscriber("two")])
    report = world.broadcast(record("calls/789", "A"), record("calls/123", "B"))
    assert report.done == 1
    assert isinstance(report.problem, Unavailable)
    assert len(world.registry) == 0


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.FAILED])
def test_who_can_be_neither_served_nor_closed_is_forgotten_so_that_its_next_frame_sends_it_away(
    outcome: Outcome,
) -> None:
    world = World({"one": outcome}).hears("calls/123", [subscriber("one"), subscriber("two")])
    world.management.unclosable.add("one")
    assert world.broadcast(record("calls/123", "A")) == Report(Counter({outcome: 1, Outcome.DELIVERED: 1}), done=1)
    assert world.registry.forgotten == ["one"]


@pytest.mark.parametrize(("age", "is_forgotten"), [(0, False), (599, False), (601, True)])
def test_who_could_not_be_closed_for_throttling_is_tried_again_for_ten_minutes(age: int, is_forgotten: bool) -> None:
    world = World({"one": Outcome.THROTTLED}).hears("calls/123", [subscriber("one"), subscriber("two")])
    world.management.unclosable.add("one")
    world.management.throttled.add("one")
    young = replace(record("calls/123", "A"), event_id=make_event_id(int((NOW - age) * 1000), "A"))
    report = world.broadcast(record("calls/789", "before"), young)
    assert report.done == (2 if is_forgotten else 1)
    assert (report.problem is None) == is_forgotten
    assert world.registry.forgotten == (["one"] if is_forgotten else [])


def test_who_can_not_even_be_forgotten_is_tried_again() -> None:
    world = World({"one": Outcome.FAILED}, forget_error=Unavailable("reading a connection: InternalServerError"))
    world.hears("calls/123", [subscriber("one")])
    world.management.unclosable.add("one")
    report = world.broadcast(record("calls/789", "A"), record("calls/123", "B"))
    assert report.done == 1


def test_a_client_that_cannot_be_served_is_closed_so_that_it_comes_back() -> None:
    world = World()
    world.broadcast(record("calls/123", "A"))
    assert world.management.close_unserved is True


def test_a_right_that_is_missing_is_the_operators_to_mend() -> None:
    world = World({"one": Outcome.FORBIDDEN}).hears("calls/123", [subscriber("one")])
    report = world.broadcast(record("calls/123", "A"))
    assert report.done == 0
    assert isinstance(report.problem, ConfigurationError)
    assert re.search(r"execute-api:ManageConnections.*403 Forbidden", str(report.problem))


def test_a_right_that_is_missing_for_one_stage_keeps_nothing_from_the_others() -> None:
    world = World({"one": Outcome.FORBIDDEN}).hears("calls/123", [subscriber("one")])
    world.hears("feed/*/0", [subscriber("two")])
    report = world.broadcast(record("feed/*/0", "A"), record("calls/123", "B"), record("feed/*/0", "C"))
    assert world.heard()["two"] == ["A", "C"]
    assert report.done == 1


def test_when_time_runs_out_the_stream_goes_on_from_the_first_record_that_may_not_be_done() -> None:
    world = World(room=1)
    world.hears("feed/*/1", [subscriber("1")]).hears("feed/*/2", [subscriber("2")]).hears("feed/*/3", [subscriber("3")])
    report = world.broadcast(record("feed/*/1", "A"), record("feed/*/2", "B"), record("feed/*/3", "C"))
    assert report.done == 1
    assert isinstance(report.problem, Unavailable)
    assert report.outcomes == {Outcome.DELIVERED: 1, Outcome.NOT_TRIED: 1}


def test_a_record_whose_audience_was_not_even_read_is_not_done() -> None:
    world = World(room=1)
    world.hears("feed/*/1", [subscriber("first")]).hears("feed/*/2", [subscriber("next")])
    report = world.broadcast(record("feed/*/2", "A"), record("feed/*/1", "B"), record("feed/*/2", "C"))
    assert list(world.heard()) == ["next"]
    assert report.done == 1


def test_an_audience_that_was_posted_to_in_part_is_not_done() -> None:
    world = World(room=2).hears("feed/*/1", [subscriber("a"), subscriber("b")], [subscriber("c"), subscriber("d")])
    report = world.broadcast(record("feed/*/1", "A"), record("feed/*/1", "B"))
    assert report.done == 0


def test_an_audience_that_cannot_be_read_holds_up_nothing_before_its_first_record() -> None:
    world = World().hears("feed/2", [subscriber("two")]).hears("feed/3", [subscriber("three")])
    world.connections.failing["feed/1"] = 0
    report = world.broadcast(record("feed/2", "A"), record("feed/3", "B"), record("feed/1", "C"), record("feed/2", "D"))
    assert world.heard() == {"two": ["A"], "three": ["B"]}  # D comes after C, and so it shall stay
    assert report.done == 2
    assert "reading an audience" in str(report.problem)


def test_a_page_that_cannot_be_read_leaves_those_after_it_to_the_next_try() -> None:
    world = World().hears("feed/*/0", [subscriber("first page")], [subscriber("second page")])
    world.hears("feed/*/1", [subscriber("before")]).hears("feed/*/2", [subscriber("after")])
    world.connections.failing["feed/*/0"] = 1
    report = world.broadcast(record("feed/*/1", "A"), record("feed/*/0", "B"), record("feed/*/2", "C"))
    assert world.heard() == {"first page": ["B"], "before": ["A"]}
    assert report.done == 1


def test_a_table_that_does_not_answer_in_time_is_not_waited_for() -> None:
    held = threading.Event()
    world = World().hears("calls/123", [subscriber("one")])
    world.connections.hearing = lambda audience, now: iter([[]] * held.wait())  # type: ignore[method-assign]
    fanout = Broadcaster(world.connections, world.registry, world.management)
    report = fanout.broadcast([record("calls/123", "A")], now=NOW, until=0.0, forget_until=0.0)
    held.set()
    assert report.done == 0
    assert "did not answer in time" in str(report.problem)


def test_a_state_is_not_left_out_for_one_that_is_not_posted_now() -> None:
    world = World().hears("feed/*/0", [subscriber("batched", batch=True)])
    world.connections.failing["calls/1"] = 0
    report = world.broadcast(
        record("feed/*/0", "1", kind="listener_busy", subject="7"),
        record("calls/1", "2"),
        record("feed/*/0", "3", kind="listener_busy", subject="7"),
    )
    assert world.heard() == {"batched": ["1"]}
    assert report.done == 1


def test_a_subscriber_is_what_the_table_says_of_it() -> None:
    """A newcomer whom a direct message is for gives way to what the table knows of the same connection."""
    batched = replace(subscriber("one", batch=True), connected_at=5_000)
    world = World().hears("feed/7", [batched])
    world.broadcast(record("connection/one", "1", endpoint="feed"), record("feed/7", "2"))
    assert world.heard() == {"one": ["[1,2]"]}
    assert world.management.to("one").connected_at == 5
