from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from realtime.broadcast import PASSING_SECONDS, Broadcaster, Reading, Report, read_record
from realtime.errors import ConfigurationError, Rejected, Unavailable, Unforeseen
from realtime.ids import make_event_id
from realtime.invocation import Deadline
from realtime.posting.delivery import Delivery, Outcome
from realtime.tables.connections import Subscriber
from realtime.tables.outbox import Entry, Unreadable
from realtime.tables.registry import FORGOTTEN_TOGETHER, Gone
from tests.samples import names, sample
from tests.unit.fakes import FakeConnections, FakePoster, FakeQueue, FakeRegistry

NOW = 1_705_314_600.25
ENDLESS = Deadline(1e9, 1e9)


def entry(audience: str, message: str, *, kind: str = "call_started", **more: Any) -> Entry:
    return Entry(audience, f"id of {message}", kind, message, expires_at_s=int(NOW) + 60, **more)


def subscriber(connection_id: str, user_id: str = "123", *, batch: bool = False, types: str = "") -> Subscriber:
    connected_at_ms = int(NOW * 1000) - 60_000
    return Subscriber(connection_id, user_id, connected_at_ms, frozenset(types.split()), batch=batch)


class Service:
    """A Broadcaster, the subscribers of each audience, and the posts to them."""

    def __init__(self, outcomes: dict[str, Outcome] | None = None, room: int | None = None, **more: Any) -> None:
        self.poster = FakePoster(outcomes, room=room)
        self.registry = FakeRegistry(more.get("forget_error"))
        self.pages: dict[str, list[list[Subscriber]]] = {}
        self.connections = FakeConnections(self.pages)
        self.failures = FakeQueue()
        self.broadcaster = Broadcaster(self.connections, self.registry, self.poster, lambda: self.failures)

    def audience(self, audience: str, *pages: list[Subscriber]) -> Service:
        """Let an audience have these pages of subscribers."""
        self.pages[audience] = list(pages)
        return self

    def broadcast(self, *entries: Entry) -> Report:
        return self.broadcaster.broadcast(entries, ENDLESS, now_s=NOW)

    def handle(self, *records: dict[str, Any], now_s: float = NOW) -> Report:
        return self.broadcaster.handle(records, ENDLESS, now_s=now_s)

    def posted(self) -> dict[str, list[str]]:
        """Return the frames that each connection was sent, in order."""
        posted: dict[str, list[str]] = {}
        for each in self.poster.deliveries:
            posted.setdefault(each.connection_id, []).extend(bodies(each))
        return posted


def bodies(delivery: Delivery) -> list[str]:
    return [frame.body.decode() for frame in delivery.frames]


def test_every_sample_record_can_be_read() -> None:
    entries = [read_record(each) for name in names("broadcast") for each in sample(name)["Records"]]
    assert {each.audience for each in entries} >= {"calls/123", "calls/789", "feed/*/0"}
    assert [each.hidden_from for each in entries if each.audience == "feed/*/0"] == [frozenset({"666"})]
    assert [each.endpoint for each in entries if each.close] == ["feed"]


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
def test_a_record_that_our_functions_do_not_write_cannot_be_read(changes: dict[str, Any]) -> None:
    (good,) = sample("broadcast.watched")["Records"]
    (bad,) = sample("broadcast.watched")["Records"]
    image = bad["dynamodb"]["NewImage"]
    bad["dynamodb"]["NewImage"] = {name: value for name, value in (image | changes).items() if value is not None}
    with pytest.raises(Unreadable, match=r"018d0cabc5d06bba19c395fdaeb5"):
        read_record(bad)
    reading = Reading.of([good, bad, good, bad])
    assert reading.entries == {0: read_record(good), 2: read_record(good)}
    assert reading.unreadable.keys() == {1, 3}
    assert [reading.records_done(entries) for entries in range(3)] == [0, 2, 4]


@pytest.mark.parametrize("record", [{}, {"dynamodb": {}}, {"dynamodb": {"Keys": {}, "NewImage": None}}])
def test_a_record_without_an_image_cannot_be_read(record: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_record(record)


def test_a_record_with_the_mark_of_a_redrive_can_be_read() -> None:
    (record,) = sample("broadcast.watched")["Records"]
    before = read_record(record)
    record["dynamodb"]["NewImage"]["redriven"] = {"N": "1"}
    assert read_record(record) == before


def test_an_event_goes_to_all_connections_of_its_audience_and_to_no_other() -> None:
    service = (
        Service()
        .audience("calls/123", [subscriber("one"), subscriber("two")])
        .audience("calls/789", [subscriber("three")])
    )
    assert service.broadcast(entry("calls/123", "A")) == Report(Counter({Outcome.DELIVERED: 2}), done=1)
    assert service.posted() == {"one": ["A"], "two": ["A"]}


def test_the_events_of_a_connection_are_one_delivery_in_their_order() -> None:
    service = Service().audience("calls/123", [subscriber("one")]).audience("calls/789", [subscriber("two")])
    service.broadcast(entry("calls/123", "A"), entry("calls/789", "B"), entry("calls/123", "C"))
    assert service.posted() == {"one": ["A", "C"], "two": ["B"]}


def test_all_pages_of_an_audience_are_read() -> None:
    pages = [[subscriber(f"{page}-{n}") for n in range(3)] for page in range(3)]
    service = Service().audience("feed/*/0", *pages).audience("calls/1", *pages)
    service.broadcast(entry("feed/*/0", "A"))
    assert len(service.poster) == 9
    service.broadcast(entry("calls/1", "B"))
    assert len(service.poster) == 18


def test_a_connection_of_several_narrow_audiences_gets_one_delivery_in_order() -> None:
    both = subscriber("both")
    service = Service().audience("feed/1", [both, subscriber("one")]).audience("feed/2", [both])
    service.broadcast(entry("feed/1", "A"), entry("feed/2", "B"), entry("connection/both", "C", endpoint="feed"))
    assert service.posted() == {"both": ["A", "B", "C"], "one": ["A"]}


def test_a_call_does_not_wait_for_all_subscribers_of_the_feed() -> None:
    service = (
        Service().audience("feed/*/0", [subscriber("a"), subscriber("b")]).audience("calls/123", [subscriber("c")])
    )
    service.broadcast(entry("feed/*/0", "on", kind="listener_online"), entry("calls/123", "call"))
    assert [each.connection_id for each in service.poster.deliveries] == ["c", "a", "b"]


def test_an_audience_is_read_once_for_all_its_events() -> None:
    service = Service()
    service.broadcast(*(entry(audience, message) for message in "ABC" for audience in ("feed/*/0", "calls/1")))
    assert sorted(service.connections.read) == ["calls/1", "feed/*/0"]


def test_the_stage_is_the_endpoint() -> None:
    service = Service().audience("calls/123", [subscriber("one")]).audience("feed/*/3", [subscriber("two")])
    service.broadcast(
        entry("calls/123", "A"), entry("feed/*/3", "B"), entry("connection/three", "C", endpoint="presence")
    )
    assert {each.connection_id: each.endpoint for each in service.poster.deliveries} == {
        "one": "calls",
        "two": "feed",
        "three": "presence",
    }


def test_the_age_of_a_connection_is_given_to_the_poster_in_seconds() -> None:
    service = Service().audience("calls/123", [subscriber("old")])
    service.broadcast(entry("calls/123", "A"), entry("connection/new", "B", endpoint="feed"))
    assert service.poster.to("old").connected_at_s == pytest.approx(NOW - 60)
    assert service.poster.to("new").connected_at_s == pytest.approx(NOW)  # so that its 410 is not yet believed


def test_a_subscriber_with_types_is_sent_only_these() -> None:
    service = Service().audience(
        "notifications/*/0",
        [subscriber("picky", types="favorite_added user_blocked"), subscriber("deaf", types="user_unblocked")],
    )
    service.broadcast(
        entry("notifications/*/0", "A", kind="favorite_added"),
        entry("notifications/*/0", "B", kind="system_notification"),
        entry("notifications/*/0", "C", kind="user_blocked"),
    )
    assert service.posted() == {"picky": ["A", "C"]}


def test_a_blocked_user_does_not_hear_the_blocker() -> None:
    service = Service().audience("feed/*/0", [subscriber("blocked", "666"), subscriber("other", "5")])
    service.broadcast(entry("feed/*/0", "A", hidden_from=frozenset({"666", "667"})), entry("feed/*/0", "B"))
    assert service.posted() == {"blocked": ["B"], "other": ["A", "B"]}


def test_an_event_for_some_users_is_sent_to_no_other() -> None:
    service = Service().audience("feed/*/0", [subscriber("unblocked", "666"), subscriber("other", "5")])
    service.broadcast(entry("feed/*/0", "A", shown_to=frozenset({"666", "667"})), entry("feed/*/0", "B"))
    assert service.posted() == {"unblocked": ["A", "B"], "other": ["B"]}


def test_an_event_that_the_stream_shows_twice_is_sent_once() -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    service.broadcast(entry("calls/123", "A"), entry("calls/123", "B"), entry("calls/123", "A"))
    assert service.posted() == {"one": ["A", "B"]}


def test_a_direct_message_goes_to_its_connection_whether_registered_or_not_and_closes_it() -> None:
    service = Service()
    service.broadcast(entry("connection/one", "A", kind="error", endpoint="feed", close=True))
    assert service.posted() == {"one": ["A"]}
    assert service.poster.to("one").close


def test_a_closing_event_closes_its_recipient_alone() -> None:
    service = Service().audience("feed/*/0", [subscriber("one"), subscriber("two")])
    service.broadcast(entry("feed/*/0", "A"), entry("connection/one", "B", endpoint="feed", close=True))
    assert service.posted() == {"one": ["B", "A"], "two": ["A"]}
    assert [each.connection_id for each in service.poster.deliveries if each.close] == ["one"]


def test_a_direct_message_passes_the_filters_of_its_connection() -> None:
    """A revoked session must end, whatever its filter and whatever else happens at the same time."""
    service = Service().audience("notifications/123", [subscriber("one", "123", types="favorite_added")])
    service.broadcast(
        entry("notifications/123", "A", kind="favorite_added"),
        entry("notifications/123", "B", kind="user_blocked"),
        entry("connection/one", "C", kind="error", endpoint="notifications", close=True),
    )
    assert service.posted() == {"one": ["A", "C"]}
    assert service.poster.to("one").close


def test_a_direct_message_does_not_lift_the_filters_for_other_events() -> None:
    service = Service().audience("feed/7", [subscriber("one", "666")])
    service.broadcast(
        entry("feed/7", "A", hidden_from=frozenset({"666"})), entry("connection/one", "B", endpoint="feed")
    )
    assert service.posted() == {"one": ["B"]}


def test_a_direct_message_may_say_how_old_its_connection_is() -> None:
    service = Service()
    known = entry("connection/one", "A", endpoint="feed", connected_at_ms=5_000)
    service.broadcast(known, entry("connection/two", "B", endpoint="feed"))
    assert service.poster.to("one").connected_at_s == 5
    assert service.poster.to("two").connected_at_s == int(NOW * 1000) / 1000


def test_a_frame_expires_with_its_event() -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    service.broadcast(entry("calls/123", "A", not_after_s=1_705_314_610), entry("calls/123", "B"))
    assert [frame.not_after_s for frame in service.poster.to("one").frames] == [1_705_314_610, None]


def test_a_subscriber_that_takes_batches_is_sent_arrays() -> None:
    service = Service().audience("feed/*/0", [subscriber("batched", batch=True), subscriber("plain")])
    service.broadcast(entry("feed/*/0", '{"n":1}'), entry("feed/*/0", '{"n":2}'))
    assert service.posted() == {"batched": ['[{"n":1},{"n":2}]'], "plain": ['{"n":1}', '{"n":2}']}


def test_a_single_event_is_not_wrapped_in_an_array() -> None:
    service = Service().audience("feed/*/0", [subscriber("batched", batch=True)])
    service.broadcast(entry("feed/*/0", '{"n":1}'))
    assert service.posted() == {"batched": ['{"n":1}']}


def test_an_array_holds_only_the_last_state_of_a_user() -> None:
    service = Service().audience("feed/*/0", [subscriber("batched", batch=True), subscriber("plain")])
    states = [
        entry("feed/*/0", message, kind=kind, subject=subject)
        for message, kind, subject in (
            ("1", "listener_busy", "7"),
            ("2", "listener_busy", "8"),
            ("3", "listener_busy", "7"),
            ("4", "listener_online", "7"),
        )
    ]
    service.broadcast(*states)
    assert service.posted() == {"batched": ["[2,3,4]"], "plain": ["1", "2", "3", "4"]}


def test_a_state_is_not_replaced_by_one_that_its_recipient_may_not_hear() -> None:
    service = Service().audience(
        "feed/*/0", [subscriber("blocked", "666", batch=True), subscriber("other", "5", batch=True)]
    )
    service.broadcast(
        entry("feed/*/0", "1", kind="listener_busy", subject="7"),
        entry("feed/*/0", "2", kind="listener_busy", subject="7", hidden_from=frozenset({"666"})),
    )
    assert service.posted() == {"blocked": ["1"], "other": ["2"]}


def test_recipients_of_the_same_events_share_their_frames() -> None:
    service = Service().audience("feed/*/0", [subscriber("one"), subscriber("two"), subscriber("three", batch=True)])
    service.broadcast(entry("feed/*/0", "A"), entry("feed/*/0", "B"))
    one, two = service.poster.to("one"), service.poster.to("two")
    assert one.frames is two.frames


def test_a_connection_that_is_gone_is_forgotten_and_holds_up_nobody() -> None:
    service = Service({"gone": Outcome.GONE}).audience("calls/123", [subscriber("gone"), subscriber("here")])
    report = service.broadcast(entry("calls/123", "A"))
    assert service.registry.forgotten == ["gone"]
    assert service.registry.forgotten_at == [int(NOW * 1000)]
    assert service.posted()["here"] == ["A"]
    assert report.done == 1


def test_a_subscriber_of_a_wide_audience_is_forgotten_without_a_lookup() -> None:
    service = Service(dict.fromkeys(["feed", "own", "watching"], Outcome.GONE))
    service.audience("feed/*/0", [subscriber("feed")]).audience("notifications/*/3", [subscriber("own")])
    service.audience("feed/7", [subscriber("watching")])
    service.broadcast(*(entry(audience, "A") for audience in ("feed/*/0", "notifications/*/3", "feed/7")))
    assert sorted(service.registry.gone, key=lambda each: each.connection_id) == [
        Gone("feed", "123", ["connection/feed", "feed/*/0"]),
        Gone("own", "123", ["connection/own", "notifications/*/3", "notifications/123"]),
        Gone("watching"),
    ]


def test_all_subscriptions_of_a_stuck_connection_are_looked_up_to_forget_it() -> None:
    service = Service({"one": Outcome.STUCK}).audience("feed/*/0", [subscriber("one")])
    service.broadcast(entry("feed/*/0", "A"))
    assert service.registry.gone == [Gone("one", may_live=True)]


def test_many_connections_that_are_gone_are_all_forgotten() -> None:
    names = [f"gone {number}" for number in range(3 * FORGOTTEN_TOGETHER + 1)]
    service = Service(dict.fromkeys(names, Outcome.GONE)).audience("feed/*/0", [subscriber(name) for name in names])
    service.broadcast(entry("feed/*/0", "A"))
    assert sorted(service.registry.forgotten) == sorted(names)


def test_a_connection_that_cannot_be_forgotten_is_counted_and_holds_up_nobody() -> None:
    trouble = Unavailable("writing to Connections: ThrottlingException")
    service = Service({"gone": Outcome.GONE}, forget_error=trouble)
    service.audience("calls/123", [subscriber("gone"), subscriber("here")])
    report = service.broadcast(entry("calls/123", "A"))
    assert report.done == 1
    assert report.problem is None
    assert report.unforgotten == {"Unavailable: writing to Connections: ThrottlingException": 1}


def test_forgetting_ends_with_its_time_and_holds_up_no_event() -> None:
    held = threading.Event()
    service = Service({"gone": Outcome.GONE}).audience("calls/123", [subscriber("gone")])
    service.registry.forget_all = lambda gone, now_ms: {str(held.wait()): Unavailable()}  # type: ignore[method-assign]
    report = service.broadcaster.broadcast([entry("calls/123", "A")], Deadline(1e9, 0.0), now_s=NOW)
    held.set()
    assert report.done == 1
    assert sum(report.unforgotten.values()) == 1


@pytest.mark.parametrize("outcome", [each for each in Outcome if each not in {Outcome.GONE, Outcome.STUCK}])
def test_a_connection_that_is_not_gone_is_not_forgotten(outcome: Outcome) -> None:
    service = Service({"one": outcome}).audience("calls/123", [subscriber("one")])
    service.broadcast(entry("calls/123", "A"))
    assert len(service.registry) == 0


@pytest.mark.parametrize("outcome", [Outcome.CLOSED, Outcome.EXPIRED, Outcome.TOO_LARGE, Outcome.NOT_YET_OPEN])
def test_an_event_that_one_connection_could_not_be_sent_is_done(outcome: Outcome) -> None:
    service = Service({"one": outcome}).audience("calls/123", [subscriber("one"), subscriber("two")])
    report = service.broadcast(entry("calls/123", "A"))
    assert report == Report(Counter({outcome: 1, Outcome.DELIVERED: 1}), done=1)


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED])
def test_events_whose_recipient_was_not_served_when_time_ran_out_are_not_done(outcome: Outcome) -> None:
    service = Service({"one": outcome}).audience("calls/123", [subscriber("one"), subscriber("two")])
    report = service.broadcast(entry("calls/789", "A"), entry("calls/123", "B"))
    assert report.done == 1
    assert isinstance(report.problem, Unavailable)
    assert len(service.registry) == 0


def test_a_stuck_connection_is_forgotten_so_that_its_next_frame_sends_it_away() -> None:
    service = Service({"one": Outcome.STUCK}).audience("calls/123", [subscriber("one"), subscriber("two")])
    outcomes = Counter({Outcome.STUCK: 1, Outcome.DELIVERED: 1})
    assert service.broadcast(entry("calls/123", "A")) == Report(outcomes, done=1)
    assert service.registry.forgotten == ["one"]


@pytest.mark.parametrize(
    ("age", "throttled", "is_forgotten"),
    [(0, True, False), (599, True, False), (600, True, True), (601, True, True), (0, False, True)],
)
def test_a_stuck_connection_of_a_throttled_account_is_tried_again_for_ten_minutes(
    age: int, *, throttled: bool, is_forgotten: bool
) -> None:
    service = Service({"one": Outcome.STUCK}).audience("calls/123", [subscriber("one"), subscriber("two")])
    if throttled:
        service.poster.throttled.add("one")
    young = replace(entry("calls/123", "A"), event_id=make_event_id(int((NOW - age) * 1000), "A"))
    report = service.broadcast(entry("calls/789", "before"), young)
    assert report.done == (2 if is_forgotten else 1)
    assert (report.problem is None) == is_forgotten
    assert service.registry.forgotten == (["one"] if is_forgotten else [])


def test_a_stuck_connection_that_cannot_be_forgotten_is_tried_again() -> None:
    service = Service({"one": Outcome.STUCK}, forget_error=Unavailable("reading a connection: InternalServerError"))
    service.audience("calls/123", [subscriber("one")])
    report = service.broadcast(entry("calls/789", "A"), entry("calls/123", "B"))
    assert report.done == 1


def test_a_connection_that_cannot_be_served_is_closed_so_that_its_client_comes_back() -> None:
    service = Service()
    service.broadcast(entry("calls/123", "A"))
    assert service.poster.close_unserved is True


def test_a_missing_right_is_a_configuration_error_that_names_it() -> None:
    service = Service({"one": Outcome.FORBIDDEN}).audience("calls/123", [subscriber("one")])
    report = service.broadcast(entry("calls/123", "A"))
    assert report.done == 0
    assert isinstance(report.problem, ConfigurationError)
    assert re.search(r"execute-api:ManageConnections.*403 Forbidden", str(report.problem))


def test_a_missing_right_for_one_stage_does_not_stop_the_others() -> None:
    service = Service({"one": Outcome.FORBIDDEN}).audience("calls/123", [subscriber("one")])
    service.audience("feed/*/0", [subscriber("two")])
    report = service.broadcast(entry("feed/*/0", "A"), entry("calls/123", "B"), entry("feed/*/0", "C"))
    assert service.posted()["two"] == ["A", "C"]
    assert report.done == 1


def test_the_stream_continues_at_the_first_event_that_may_not_be_done_when_time_runs_out() -> None:
    service = Service(room=1)
    service.audience("feed/*/1", [subscriber("1")]).audience("feed/*/2", [subscriber("2")]).audience(
        "feed/*/3", [subscriber("3")]
    )
    report = service.broadcast(entry("feed/*/1", "A"), entry("feed/*/2", "B"), entry("feed/*/3", "C"))
    assert report.done == 1
    assert isinstance(report.problem, Unavailable)
    assert report.outcomes == {Outcome.DELIVERED: 1, Outcome.NOT_TRIED: 1}


def test_an_event_whose_audience_was_not_read_is_not_done() -> None:
    service = Service(room=1)
    service.audience("feed/*/1", [subscriber("first")]).audience("feed/*/2", [subscriber("next")])
    report = service.broadcast(entry("feed/*/2", "A"), entry("feed/*/1", "B"), entry("feed/*/2", "C"))
    assert list(service.posted()) == ["next"]
    assert report.done == 1


def test_a_partly_posted_audience_is_not_done() -> None:
    service = Service(room=2).audience(
        "feed/*/1", [subscriber("a"), subscriber("b")], [subscriber("c"), subscriber("d")]
    )
    report = service.broadcast(entry("feed/*/1", "A"), entry("feed/*/1", "B"))
    assert report.done == 0


def test_an_audience_that_cannot_be_read_holds_up_no_event_before_its_own() -> None:
    service = Service().audience("feed/2", [subscriber("two")]).audience("feed/3", [subscriber("three")])
    service.connections.failing["feed/1"] = 0
    report = service.broadcast(entry("feed/2", "A"), entry("feed/3", "B"), entry("feed/1", "C"), entry("feed/2", "D"))
    assert service.posted() == {"two": ["A"], "three": ["B"]}  # D must stay after C
    assert report.done == 2
    assert "reading an audience" in str(report.problem)


def test_events_after_one_whose_page_cannot_be_read_are_left_to_the_next_try() -> None:
    service = Service().audience("feed/*/0", [subscriber("first page")], [subscriber("second page")])
    service.audience("feed/*/1", [subscriber("before")]).audience("feed/*/2", [subscriber("after")])
    service.connections.failing["feed/*/0"] = 1
    report = service.broadcast(entry("feed/*/1", "A"), entry("feed/*/0", "B"), entry("feed/*/2", "C"))
    assert service.posted() == {"first page": ["B"], "before": ["A"]}
    assert report.done == 1


def test_an_audience_without_an_event_that_can_be_posted_is_not_read() -> None:
    service = Service()
    service.connections.failing["calls/1"] = 0
    service.broadcast(entry("calls/1", "A"), entry("feed/*/0", "B"))
    assert service.connections.read == ["calls/1"]


def test_a_table_that_does_not_answer_in_time_is_not_waited_for() -> None:
    held = threading.Event()
    service = Service().audience("calls/123", [subscriber("one")])
    service.connections.subscribers = lambda audience, now_s: iter([[]] * held.wait())  # type: ignore[method-assign]
    report = service.broadcaster.broadcast([entry("calls/123", "A")], Deadline(0.0, 0.0), now_s=NOW)
    held.set()
    assert report.done == 0
    assert "did not answer in time" in str(report.problem)


def test_a_state_is_not_replaced_by_one_that_is_not_posted_now() -> None:
    service = Service().audience("feed/*/0", [subscriber("batched", batch=True)])
    service.connections.failing["calls/1"] = 0
    report = service.broadcast(
        entry("feed/*/0", "1", kind="listener_busy", subject="7"),
        entry("calls/1", "2"),
        entry("feed/*/0", "3", kind="listener_busy", subject="7"),
    )
    assert service.posted() == {"batched": ["1"]}
    assert report.done == 1


def test_the_table_knows_more_of_a_connection_than_a_direct_message() -> None:
    """A connection that a direct message found is taken for a new one, unless the table knows it."""
    batched = replace(subscriber("one", batch=True), connected_at_ms=5_000)
    service = Service().audience("feed/7", [batched])
    service.broadcast(entry("connection/one", "1", endpoint="feed"), entry("feed/7", "2"))
    assert service.posted() == {"one": ["[1,2]"]}
    assert service.poster.to("one").connected_at_s == 5


def test_an_event_is_not_done_while_a_page_of_its_audience_is_unread() -> None:
    service = Service(room=0)
    service.audience("feed/*/0", [subscriber("picky", types="listener_busy")], [subscriber("all")])
    entries = entry("feed/*/0", "A", kind="listener_online"), entry("feed/*/0", "B", kind="listener_busy")
    assert service.broadcast(*entries).done == 0


def test_a_state_is_replaced_only_by_a_later_one_for_the_same_audience() -> None:
    service = Service().audience("feed/*/0", [subscriber("zero", batch=True)])
    service.audience("feed/*/1", [subscriber("one", batch=True)])
    states = [
        entry(f"feed/*/{shard}", f"{number}", kind="listener_busy", subject="7")
        for number in (1, 2)
        for shard in (0, 1)
    ]
    service.broadcast(*states)
    assert service.posted() == {"zero": ["2"], "one": ["2"]}


def test_the_first_problem_of_an_event_is_the_one_reported() -> None:
    """Running out of time later does not hide the missing right."""
    outcomes = {"one": Outcome.FORBIDDEN, "two": Outcome.NOT_TRIED}
    service = Service(outcomes).audience("calls/123", [subscriber("one"), subscriber("two")])
    assert isinstance(service.broadcast(entry("calls/123", "A")).problem, ConfigurationError)


def poisoned(name: str) -> dict[str, Any]:
    """Return a sample record that none of our functions would write."""
    (record,) = sample(name)["Records"]
    del record["dynamodb"]["NewImage"]["kind"]
    bad: dict[str, Any] = record
    return bad


def test_a_batch_of_records_is_posted_and_counted_in_records() -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    records = sample("broadcast.personal")["Records"]
    assert service.handle(*records) == Report(Counter({Outcome.DELIVERED: 1}), done=len(records))
    assert "one" in service.poster
    assert not service.failures.sent


def test_an_unreadable_record_goes_to_the_dead_letter_queue_and_is_done() -> None:
    service, bad = Service(), poisoned("broadcast.watched")
    report = service.handle(bad, *sample("broadcast.personal")["Records"])
    assert (report.done, report.problem) == (3, None)
    ((body, _, attributes),) = service.failures.sent
    assert body["sequence_number"] == bad["dynamodb"]["SequenceNumber"]
    assert "KeyError: 'kind'" in attributes["reason"]


def test_an_unreadable_record_behind_the_first_that_is_not_done_is_left_to_the_next_try() -> None:
    service = Service(room=0).audience("calls/123", [subscriber("one")])
    service.audience("calls/789", [subscriber("two")])
    report = service.handle(*sample("broadcast.personal")["Records"], poisoned("broadcast.watched"))
    assert (report.done, len(service.failures)) == (0, 0)
    assert isinstance(report.problem, Unavailable)


@pytest.mark.parametrize("is_last", [True, False])
def test_a_record_whose_audience_no_table_takes_goes_to_the_dead_letter_queue(is_last: bool) -> None:
    service = Service()
    service.connections.errors["presence/123"] = Rejected("no audience of ours")
    rejected = sample("broadcast.watched")["Records"]
    records = rejected if is_last else [*rejected, *sample("broadcast.personal")["Records"]]
    report = service.handle(*records)
    assert (report.done, report.problem is None) == (1, is_last)
    assert len(service.failures) == 1


@pytest.mark.parametrize(
    ("records", "age_s", "is_given_up"), [(1, PASSING_SECONDS - 1, False), (1, PASSING_SECONDS, True), (2, 3600, False)]
)
def test_a_record_that_alone_meets_an_unforeseen_error_for_a_minute_is_given_up(
    records: int, age_s: float, is_given_up: bool
) -> None:
    service = Service()
    service.connections.errors["calls/123"] = service.connections.errors["calls/789"] = ZeroDivisionError()
    shown = sample("broadcast.personal")["Records"][:records]
    for record in shown:
        record["dynamodb"]["ApproximateCreationDateTime"] = NOW - age_s
    if is_given_up:
        assert service.handle(*shown) == Report(Counter(), done=1)
    else:
        with pytest.raises(Unforeseen):
            service.handle(*shown)
    assert len(service.failures) == is_given_up
