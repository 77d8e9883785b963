from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from realtime import messages, metrics
from realtime.audiences import is_wide
from realtime.broadcast import PASSING_SECONDS, Broadcaster, Report
from realtime.errors import ConfigurationError, Rejected, Unavailable, Unforeseen
from realtime.forgetting import result_of
from realtime.hiding import Hiding
from realtime.ids import make_event_id
from realtime.invocation import Deadline
from realtime.log import logger
from realtime.positions import Position
from realtime.posting.delivery import D, Delivery, Outcome, Result
from realtime.records import Reading, read_record
from realtime.tables.connections import Subscriber
from realtime.tables.entries import Entry, Unreadable
from realtime.tables.registry import FORGOTTEN_TOGETHER, Gone
from realtime.tables.stragglers import CAPACITY, SKIPPED_TOGETHER
from tests.logs import LogLines
from tests.samples import names, sample
from tests.unit.fakes import (
    Clock,
    FakeBlocks,
    FakeConnections,
    FakePosted,
    FakePoster,
    FakeQueue,
    FakeRegistry,
    FakeServed,
    FakeStragglers,
)

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
        self.blocks = FakeBlocks()
        self.served, self.noted = FakeServed(), FakePosted()
        self.journal: list[str] = []
        self.stragglers, self.late = FakeStragglers(self.journal), FakeQueue(self.journal)
        self.broadcaster = Broadcaster(
            self.connections,
            Hiding(self.blocks),
            self.registry,
            self.stragglers,
            self.served,
            self.noted,
            self.poster,
            lambda: self.late,
            lambda: self.failures,
            reach=more.get("reach", "narrow"),
            lateness_s=10,
            clock=more.get("clock", lambda: NOW),
        )

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
    records = [each for name in names("broadcast") for each in sample(name)["Records"]]
    entries = [entry for record in records for entry in read_record(record, "wide")]
    assert {each.audience for each in entries} >= {"calls/123", "calls/789", "feed/*/0", "presence/*/0"}
    assert [each.hidden_from for each in entries if each.audience == "feed/*/0"] == [frozenset({"666"})]
    assert [each.stage for each in entries if each.close] == ["feed"]


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
    good, _ = sample("broadcast.personal")["Records"]
    bad, _ = sample("broadcast.personal")["Records"]
    image = bad["dynamodb"]["NewImage"]
    bad["dynamodb"]["NewImage"] = {name: value for name, value in (image | changes).items() if value is not None}
    with pytest.raises(Unreadable, match=good["dynamodb"]["Keys"]["event_id"]["S"]):
        read_record(bad, "narrow")
    reading = Reading.of([good, bad, good, bad], "narrow")
    assert (reading.entries, reading.places) == (read_record(good, "narrow") * 2, [0, 2])
    assert reading.unreadable.keys() == {1, 3}
    assert [reading.records_done(entries) for entries in range(3)] == [0, 2, 4]


@pytest.mark.parametrize("record", [{}, {"dynamodb": {}}, {"dynamodb": {"Keys": {}, "NewImage": None}}])
def test_a_record_without_an_image_cannot_be_read(record: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_record(record, "wide")


def test_a_record_with_the_mark_of_a_redrive_can_be_read() -> None:
    (record,) = sample("broadcast.presence")["Records"]
    before = read_record(record, "wide")
    record["dynamodb"]["NewImage"]["redriven"] = {"N": "1"}
    assert read_record(record, "wide") == before


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
    service.broadcast(entry("feed/1", "A"), entry("feed/2", "B"), entry("connection/both", "C", stage="feed"))
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
    assert sorted(service.connections.read) == ["calls/1", "feed/*/0", "live/*/0", "live/1"]


def test_a_connection_is_posted_to_on_its_stage() -> None:
    service = Service().audience("calls/123", [subscriber("one")]).audience("feed/*/3", [subscriber("two")])
    service.broadcast(entry("calls/123", "A"), entry("feed/*/3", "B"), entry("connection/three", "C", stage="presence"))
    assert {each.connection_id: each.stage for each in service.poster.deliveries} == {
        "one": "calls",
        "two": "feed",
        "three": "presence",
    }


def test_the_age_of_a_connection_is_given_to_the_poster_in_seconds() -> None:
    service = Service().audience("calls/123", [subscriber("old")])
    service.broadcast(entry("calls/123", "A"), entry("connection/new", "B", stage="feed"))
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


def about_many(message: str, audience: str = "presence/*/0", **more: Any) -> Entry:
    """Return a change of user 1, who has many blocks."""
    return entry(audience, message, kind="presence_update", **{"subject": "1", "listed_blocks": 100, **more})


def test_those_on_a_list_of_blocks_do_not_hear_the_blocker() -> None:
    hearers = [subscriber("blocked", "666"), subscriber("other", "5")]
    service = Service().audience("presence/*/0", hearers).audience("live/*/0", [subscriber("live", "666")])
    service.blocks.blocks = {("1", "666")}
    notification = entry("notifications/*/0", "C", kind="system_notification")
    service.broadcast(about_many("A"), entry("presence/*/0", "B"), notification)
    assert service.posted() == {"blocked": ["B"], "other": ["A", "B"], "live": ["B", "C"]}


def test_those_on_a_list_of_blocks_hear_the_blocker_by_no_narrow_audience_either() -> None:
    service = Service().audience("presence/1", [subscriber("blocked", "666"), subscriber("other", "5")])
    service.audience("calls/666", [subscriber("callee", "666")])
    service.blocks.blocks = {("1", "666")}
    service.broadcast(about_many("A", "presence/1"), entry("calls/666", "B"))
    assert service.posted() == {"other": ["A"], "callee": ["B"]}


def test_a_user_on_the_lists_of_several_blockers_hears_none_of_them() -> None:
    service = Service().audience("presence/*/0", [subscriber("blocked", "666"), subscriber("other", "5")])
    service.blocks.blocks = {("1", "666"), ("2", "666"), ("2", "5")}
    service.broadcast(about_many("A"), about_many("B", subject="2"), about_many("C", subject="3"))
    assert service.posted() == {"blocked": ["C"], "other": ["A", "C"]}


def test_nobody_is_asked_about_unless_the_blocker_has_many_blocks() -> None:
    service = Service().audience("presence/*/0", [subscriber("other", "5")])
    unblocked = about_many("B", subject="2", shown_to=frozenset({"5"}))
    service.broadcast(about_many("A", listed_blocks=0), unblocked)
    assert service.posted() == {"other": ["A", "B"]}
    assert (service.blocks.asked, service.blocks.read) == ([], [])


@pytest.mark.parametrize("audience", ["presence/*/0", "presence/1"])
def test_a_change_is_not_done_while_it_cannot_be_read_who_is_blocked(audience: str) -> None:
    service = Service().audience(audience, [subscriber("other", "5")]).audience("calls/1", [subscriber("callee", "1")])
    service.blocks.error = Unavailable("reading blocks: ThrottlingException")
    report = service.broadcast(entry("calls/1", "A"), about_many("B", audience), entry("calls/1", "C"))
    # Narrow audiences go first: nothing of presence is known yet when calls are posted.
    assert service.posted() == {"callee": ["A", "C"] if is_wide(audience) else ["A"]}
    assert (report.done, str(report.problem)) == (1, "reading blocks: ThrottlingException")


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
    service.broadcast(entry("connection/one", "A", kind="error", stage="feed", close=True))
    assert service.posted() == {"one": ["A"]}
    assert service.poster.to("one").close


def test_a_closing_event_closes_its_recipient_alone() -> None:
    service = Service().audience("feed/*/0", [subscriber("one"), subscriber("two")])
    service.broadcast(entry("feed/*/0", "A"), entry("connection/one", "B", stage="feed", close=True))
    assert service.posted() == {"one": ["B", "A"], "two": ["A"]}
    assert [each.connection_id for each in service.poster.deliveries if each.close] == ["one"]


def test_a_direct_message_passes_the_filters_of_its_connection() -> None:
    """A revoked session must end, whatever its filter and whatever else happens at the same time."""
    service = Service().audience("notifications/123", [subscriber("one", "123", types="favorite_added")])
    service.broadcast(
        entry("notifications/123", "A", kind="favorite_added"),
        entry("notifications/123", "B", kind="user_blocked"),
        entry("connection/one", "C", kind="error", stage="notifications", close=True),
    )
    assert service.posted() == {"one": ["A", "C"]}
    assert service.poster.to("one").close


def test_a_direct_message_does_not_lift_the_filters_for_other_events() -> None:
    service = Service().audience("feed/7", [subscriber("one", "666")])
    service.broadcast(entry("feed/7", "A", hidden_from=frozenset({"666"})), entry("connection/one", "B", stage="feed"))
    assert service.posted() == {"one": ["B"]}


def test_a_direct_message_may_say_how_old_its_connection_is() -> None:
    service = Service()
    known = entry("connection/one", "A", stage="feed", connected_at_ms=5_000)
    service.broadcast(known, entry("connection/two", "B", stage="feed"))
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


def test_a_connection_gets_only_the_last_state_of_a_user() -> None:
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
    assert service.posted() == {"batched": ["[2,3,4]"], "plain": ["2", "3", "4"]}


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
        Gone("watching", audiences=("feed/7",)),
    ]


def test_a_gone_connection_is_forgotten_with_all_watched_users_that_led_to_it() -> None:
    service = Service({"one": Outcome.GONE})
    service.audience("presence/7", [subscriber("one")]).audience("presence/8", [subscriber("one")])
    service.audience("presence/9", [subscriber("two")])
    service.broadcast(*(entry(f"presence/{user}", "A") for user in "789"))
    assert service.registry.gone == [Gone("one", audiences=("presence/7", "presence/8"))]


def test_many_connections_that_are_gone_are_all_forgotten() -> None:
    names = [f"gone {number}" for number in range(3 * FORGOTTEN_TOGETHER + 1)]
    service = Service(dict.fromkeys(names, Outcome.GONE)).audience("feed/*/0", [subscriber(name) for name in names])
    service.broadcast(entry("feed/*/0", "A"))
    assert sorted(service.registry.forgotten) == sorted(names)
    assert len(service.registry.forgotten_at) == 4, "several with each call"


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


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.GONE])
def test_a_connection_that_is_not_gone_is_not_forgotten(outcome: Outcome) -> None:
    service = Service({"one": outcome}).audience("calls/123", [subscriber("one")])
    service.broadcast(entry("calls/123", "A"))
    assert len(service.registry) == 0


@pytest.mark.parametrize("outcome", [Outcome.LATE, Outcome.EXPIRED, Outcome.TOO_LARGE])
def test_an_event_that_one_connection_could_not_be_sent_is_done(outcome: Outcome) -> None:
    service = Service({"one": outcome}).audience("calls/123", [subscriber("one"), subscriber("two")])
    report = service.broadcast(entry("calls/123", "A"))
    assert report == Report(Counter({outcome: 1, Outcome.DELIVERED: 1}), done=1)


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_YET_OPEN, Outcome.NOT_TRIED])
def test_events_whose_recipient_was_not_served_when_time_ran_out_are_not_done(outcome: Outcome) -> None:
    service = Service({"one": outcome}).audience("calls/123", [subscriber("one"), subscriber("two")])
    report = service.broadcast(entry("calls/789", "A"), entry("calls/123", "B"))
    assert report.done == 1
    assert isinstance(report.problem, Unavailable)
    assert len(service.registry) == 0


def test_a_straggler_is_noted_before_its_frames_are_queued_and_its_events_are_done() -> None:
    service = Service({"one": Outcome.LATE}).audience("calls/123", [subscriber("one"), subscriber("two")])
    report = service.broadcast(entry("calls/123", "A", not_after_s=int(NOW) + 9), entry("calls/123", "B"))
    assert report == Report(Counter({Outcome.LATE: 1, Outcome.DELIVERED: 1}), done=2)
    assert service.journal == ["read", "add", "queue"]
    ((body, _, _),) = service.late.sent
    assert (body["connection_id"], body["endpoint"]) == ("one", "calls")
    assert body["frames"] == [("A", int(NOW) + 9), ("B", None)]
    assert service.stragglers.late == {f"one {body['token']}"}
    assert not service.registry.gone


def test_the_frames_that_a_straggler_has_got_already_are_not_queued() -> None:
    service = Service({"one": Outcome.LATE}).audience("calls/123", [subscriber("one")])
    service.poster.sent["one"] = 1
    service.broadcast(entry("calls/123", "A"), entry("calls/123", "B"))
    assert service.late.sent[0][0]["frames"] == [("B", None)]


def test_a_straggler_that_was_to_be_closed_after_its_frames_still_is() -> None:
    service = Service({"one": Outcome.LATE})
    service.broadcast(entry("connection/one", "bye", stage="feed", close=True))
    assert service.late.sent[0][0]["close"] is True


def test_frames_that_no_message_can_hold_are_not_queued_and_their_connection_is_to_be_closed() -> None:
    service = Service({"one": Outcome.LATE}).audience("calls/123", [subscriber("one")])
    service.broadcast(*(entry("calls/123", f"{number}" + "x" * 30_000) for number in range(7)))
    assert service.late.sent[0][0]["frames"] is None


def test_many_stragglers_are_noted_together_with_a_token_each() -> None:
    ids = [f"late {number}" for number in range(60)]
    service = Service(dict.fromkeys(ids, Outcome.LATE)).audience("feed/*/0", [subscriber(each) for each in ids])
    service.broadcast(entry("feed/*/0", "A"))
    assert service.journal.count("add") == 3
    assert len({body["token"] for body, _, _ in service.late.sent}) == len(service.stragglers.late) == 60


@pytest.mark.parametrize("failing", ["add", "queue"])
def test_the_events_of_a_straggler_that_is_not_in_the_late_lane_are_not_done(failing: str) -> None:
    service = Service({"one": Outcome.LATE}).audience("calls/123", [subscriber("one")])
    trouble = Unavailable("ThrottlingException")
    if failing == "add":
        service.stragglers.errors["add"] = trouble
    else:
        service.late.error = trouble
    report = service.broadcast(entry("calls/789", "A"), entry("calls/123", "B"))
    assert (report.done, report.problem) == (1, trouble)
    assert not service.late.sent


def test_a_connection_that_is_behind_is_posted_nothing_and_closed_in_the_late_lane() -> None:
    service = Service().audience("calls/123", [subscriber("one"), subscriber("two")])
    service.audience("feed/*/0", [subscriber("three"), subscriber("four")])
    service.stragglers.late |= {"one a1", "three a2"}
    report = service.broadcast(entry("calls/123", "A"), entry("feed/*/0", "B"))
    assert service.posted() == {"two": ["A"], "four": ["B"]}
    assert service.stragglers.skipped == {"one", "three"}
    assert (report.done, report.skipped) == (2, 2)
    assert [(body["connection_id"], body["frames"]) for body, _, _ in service.late.sent] == [
        ("one", None),
        ("three", None),
    ]
    assert service.journal == ["read", "queue", "skip", "queue", "skip"]  # ordered before it is noted


def test_a_connection_that_was_skipped_before_costs_nothing_more() -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    service.stragglers.late, service.stragglers.skipped = {"one a1"}, {"one"}
    assert service.broadcast(entry("calls/123", "A")).skipped == 1
    assert service.journal == ["read"]
    assert not service.posted()


def test_a_connection_that_is_healed_just_before_it_is_skipped_is_posted_to() -> None:
    service = Service().audience("calls/123", [subscriber("one"), subscriber("behind"), subscriber("two")])
    service.stragglers.late = {"one a1", "behind a2"}
    service.stragglers.before["skip"] = lambda: service.stragglers.heal("one", "a1")
    report = service.broadcast(entry("calls/123", "A"))
    assert service.posted() == {"two": ["A"], "one": ["A"]}
    assert (report.done, report.skipped, service.stragglers.skipped) == (1, 1, {"behind"})


def test_connections_of_any_group_may_be_healed_while_others_are_skipped() -> None:
    names = [f"c{number:02}" for number in range(SKIPPED_TOGETHER + 10)]
    service = Service().audience("calls/123", [subscriber(each) for each in names])
    service.stragglers.late = {f"{each} a" for each in names}
    healed = names[3], names[-5]

    def heal() -> None:
        service.stragglers.late -= {f"{each} a" for each in healed}

    service.stragglers.before["skip"] = heal
    report = service.broadcast(entry("calls/123", "A"))
    assert service.posted() == {each: ["A"] for each in healed}
    assert service.stragglers.skipped == {*names} - {*healed}
    assert (report.done, report.problem) == (1, None)


def test_a_connection_that_falls_behind_anew_while_it_is_skipped_stays_skipped() -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    service.stragglers.late = {"one a1"}

    def heal_and_fall_behind() -> None:
        service.stragglers.late = {"one b1"}

    service.stragglers.before["skip"] = heal_and_fall_behind
    service.broadcast(entry("calls/123", "A"))
    assert not service.posted()
    assert service.stragglers.skipped == {"one"}


@pytest.mark.parametrize("failing", ["skip", "queue"])
def test_the_events_of_a_connection_that_cannot_be_skipped_are_not_done(failing: str) -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    service.stragglers.late = {"one a1"}
    trouble = Unavailable("ThrottlingException")
    if failing == "skip":
        service.stragglers.errors["skip"] = trouble
    else:
        service.late.error = trouble
    report = service.broadcast(entry("calls/789", "A"), entry("calls/123", "B"))
    assert (report.done, report.problem) == (1, trouble)
    assert not service.posted()


def test_nothing_is_posted_while_it_cannot_be_read_who_is_behind() -> None:
    service = Service().audience("calls/123", [subscriber("one")]).audience("feed/*/0", [subscriber("two")])
    trouble = service.stragglers.errors["read"] = Unavailable("ThrottlingException")
    report = service.broadcast(entry("calls/123", "A"), entry("feed/*/0", "B"))
    assert (report.done, report.problem) == (0, trouble)
    assert not service.posted()


def test_a_straggler_for_which_there_is_no_place_is_forgotten_as_a_whole() -> None:
    service = Service({"one": Outcome.LATE}).audience("feed/*/0", [subscriber("one")])
    service.stragglers.late = {f"c{number} a" for number in range(CAPACITY)}
    assert service.broadcast(entry("feed/*/0", "A")).done == 1
    assert service.registry.gone == [Gone("one", may_live=True)]
    assert not service.late.sent


def test_a_straggler_whose_place_others_took_meanwhile_is_forgotten_as_a_whole() -> None:
    service = Service({"one": Outcome.LATE}).audience("calls/123", [subscriber("one")])
    others = [f"c{number} a" for number in range(CAPACITY)]
    service.stragglers.before["add"] = lambda: service.stragglers.late.update(others)
    report = service.broadcast(entry("calls/123", "A"))
    assert (report.done, report.problem) == (1, None)
    assert service.registry.gone == [Gone("one", may_live=True)]
    assert not service.late.sent


@pytest.mark.parametrize("failing", ["add", "skip", "queue"])
def test_what_aws_rejects_about_a_straggler_costs_the_connection_its_place_and_no_record_is_given_up(
    failing: str,
) -> None:
    service = Service({"one": Outcome.LATE}).audience("calls/123", [subscriber("one")])
    if failing == "skip":
        service.stragglers.late = {"one a1"}
    if failing == "queue":
        service.late.error = Rejected("queueing stragglers: InvalidMessageContents")
    else:
        service.stragglers.errors[failing] = Rejected("noting stragglers: ValidationException")
    records = [each for each in sample("broadcast.personal")["Records"] if "calls/123" in str(each)]
    report = service.handle(*records)
    assert (report.done, report.problem, len(service.failures)) == (len(records), None, 0)
    assert service.registry.gone == [Gone("one", may_live=True)]


def test_a_straggler_for_which_there_is_no_place_and_that_cannot_be_forgotten_is_tried_again() -> None:
    service = Service({"one": Outcome.LATE}, forget_error=Unavailable("reading a connection: InternalServerError"))
    service.audience("calls/123", [subscriber("one")])
    service.stragglers.late = {f"c{number} a" for number in range(CAPACITY)}
    report = service.broadcast(entry("calls/789", "A"), entry("calls/123", "B"))
    assert report.done == 1


def test_events_are_posted_in_a_lane_that_stragglers_leave() -> None:
    service = Service()
    service.broadcast(entry("calls/123", "A"))
    assert service.poster.in_lane == [True, True]


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


def test_if_a_users_subscribers_cannot_be_read_no_event_for_the_user_is_done() -> None:
    service = Service().audience("calls/2", [subscriber("other")])
    service.connections.failing["calls/1"] = 0
    report = service.broadcast(entry("calls/2", "A"), entry("notifications/1", "B"), entry("calls/1", "C"))
    assert service.posted() == {"other": ["A"]}
    assert report.done == 1
    assert "reading an audience" in str(report.problem)


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
    service.broadcast(entry("connection/one", "1", stage="feed"), entry("feed/7", "2"))
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
    del record["dynamodb"]["NewImage"]["presence_kind"]
    bad: dict[str, Any] = record
    return bad


def test_a_batch_of_records_is_posted_and_counted_in_records() -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    records = sample("broadcast.personal")["Records"]
    trace_ids = ["8a2b457e-71f6-5e89-9a76-5eb46a7c1748"]
    expected = Report(Counter({Outcome.DELIVERED: 1}), done=len(records), trace_ids=trace_ids)
    assert service.handle(*records) == expected
    assert "one" in service.poster
    assert not service.failures.sent


def test_an_unreadable_record_goes_to_the_dead_letter_queue_and_is_done() -> None:
    service, bad = Service(), poisoned("broadcast.presence")
    report = service.handle(bad, *sample("broadcast.personal")["Records"])
    assert (report.done, report.problem) == (3, None)
    ((body, _, attributes),) = service.failures.sent
    assert body["sequence_number"] == bad["dynamodb"]["SequenceNumber"]
    assert "KeyError: 'presence_kind'" in attributes["reason"]


def test_an_unreadable_record_behind_the_first_that_is_not_done_is_left_to_the_next_try() -> None:
    service = Service(room=0).audience("calls/123", [subscriber("one")])
    service.audience("calls/789", [subscriber("two")])
    report = service.handle(*sample("broadcast.personal")["Records"], poisoned("broadcast.presence"))
    assert (report.done, len(service.failures)) == (0, 0)
    assert isinstance(report.problem, Unavailable)


@pytest.mark.parametrize("is_last", [True, False])
def test_a_record_whose_audience_no_table_takes_goes_to_the_dead_letter_queue(is_last: bool) -> None:
    service = Service()
    service.connections.errors["presence/123"] = Rejected("no audience of ours")
    rejected = sample("broadcast.presence")["Records"]
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


def test_a_record_of_unknown_age_that_meets_an_unforeseen_error_is_given_up() -> None:
    service = Service()
    service.connections.errors["calls/123"] = service.connections.errors["calls/789"] = ZeroDivisionError()
    (record, *_) = sample("broadcast.personal")["Records"]
    del record["dynamodb"]["ApproximateCreationDateTime"]
    assert service.handle(record) == Report(Counter(), done=1)
    assert len(service.failures) == 1


def presence(at_s: float, audience: str = "presence/*/0", kind: str = "presence_update", subject: str = "7") -> Entry:
    """Return a state; its message has its age in s."""
    event_id = make_event_id(int(at_s * 1000), audience, kind, subject)
    return Entry(audience, event_id, kind, json.dumps({"age": round(NOW - at_s)}), int(NOW) + 60, subject=subject)


def kinds(service: Service) -> dict[str, list[Any]]:
    """Return what each connection was sent: the type `stale`, or the age of a state."""
    posted = {name: [json.loads(frame) for frame in frames] for name, frames in service.posted().items()}
    return {name: [each.get("type", each.get("age")) for each in frames] for name, frames in posted.items()}


def test_presence_that_is_too_late_is_replaced_by_one_request_to_ask_for_it() -> None:
    service = Service().audience("presence/*/0", [subscriber("one"), subscriber("picky", types="status_change")])
    report = service.broadcast(*(presence(NOW - age, subject=str(age)) for age in (30, 20, 9, 1)))
    assert kinds(service) == {"one": ["stale", 9, 1]}
    assert report == Report(Counter({Outcome.DELIVERED: 1}), done=4, stale=1)


def test_a_recipient_whose_presence_is_all_too_late_gets_the_request_alone() -> None:
    service = Service().audience("presence/*/0", [subscriber("one")])
    service.broadcast(presence(NOW - 30), presence(NOW - 29, kind="status_change"))
    assert kinds(service) == {"one": ["stale"]}


def test_a_late_state_that_a_timely_one_supersedes_is_not_missed() -> None:
    service = Service().audience("presence/*/0", [subscriber("one")])
    assert service.broadcast(presence(NOW - 30), presence(NOW - 2)).stale == 0
    assert kinds(service) == {"one": [2]}


def test_a_client_of_arrays_gets_the_request_in_its_array() -> None:
    service = Service().audience("presence/*/0", [subscriber("one", batch=True)])
    service.broadcast(presence(NOW - 30), presence(NOW - 2, kind="status_change"))
    ((frame,),) = service.posted().values()
    stale, state = json.loads(frame)
    assert (stale["type"], state["age"]) == ("stale", 2)


def test_calls_notifications_and_watched_users_are_never_too_late() -> None:
    service = Service()
    for audience in ("calls/123", "notifications/*/0", "presence/7"):
        service.audience(audience, [subscriber(audience)])
    old = make_event_id(int(NOW * 1000) - 3_600_000)
    watched = replace(presence(NOW - 3600, "presence/7"), message='{"age":7}')
    entries = [replace(entry(name, '{"age":1}'), event_id=old) for name in ("calls/123", "notifications/*/0")]
    assert service.broadcast(*entries, watched).stale == 0
    assert kinds(service) == {"calls/123": [1], "notifications/*/0": [1], "presence/7": [7]}


def test_presence_becomes_too_late_while_the_others_are_served() -> None:
    clock = Clock(NOW)

    class SlowPoster(FakePoster):
        def deliver(self, deliveries: Iterable[D], **options: Any) -> Iterator[Result[D]]:
            for result in super().deliver(deliveries, **options):
                clock.now += 6
                yield result

    service = Service(clock=clock)
    service.poster = service.broadcaster._poster = SlowPoster()
    service.audience("presence/*/0", [subscriber(name) for name in ("one", "two", "three")])
    assert service.broadcast(presence(NOW)).stale == 1
    assert kinds(service) == {"one": [0], "two": [0], "three": ["stale"]}


def test_notifications_to_everyone_go_before_presence() -> None:
    service = Service().audience("presence/*/0", [subscriber("one")])
    service.audience("notifications/*/0", [subscriber("two")])
    service.broadcast(presence(NOW), entry("notifications/*/0", "1"))
    assert [each.connection_id for each in service.poster.deliveries] == ["two", "one"]


def test_a_connection_of_several_endpoints_gets_the_entries_of_all_in_one_delivery() -> None:
    live = subscriber("one")
    service = Service().audience("live/123", [live]).audience("watched/7", [live]).audience("calls/123", [])
    service.broadcast(
        entry("calls/123", "A"),
        entry("notifications/123", "B", kind="favorite_added"),
        entry("presence/7", "C", kind="presence_update"),
        entry("feed/7", "D", kind="listener_online"),
    )
    assert [(each.stage, bodies(each)) for each in service.poster.deliveries] == [("live", ["A", "B", "C", "D"])]


def test_everyone_of_several_endpoints_is_read_once_for_all_three() -> None:
    service = Service().audience("live/*/0", [subscriber("one"), subscriber("picky", types="system_notification")])
    service.broadcast(
        entry("feed/*/0", "A", kind="listener_online"),
        entry("presence/*/0", "B", kind="presence_update"),
        entry("notifications/*/0", "C", kind="system_notification"),
    )
    assert service.posted() == {"one": ["A", "B", "C"], "picky": ["C"]}
    assert service.connections.read.count("live/*/0") == 1


def test_an_event_is_not_done_before_those_who_hear_several_endpoints_have_it() -> None:
    service = Service().audience("feed/*/0", [subscriber("one")])
    service.connections.failing["live/*/0"] = 0
    report = service.broadcast(entry("feed/*/0", "A"))
    assert (report.done, service.posted()) == (0, {"one": ["A"]})
    service = Service(room=1).audience("feed/*/0", [subscriber("one")]).audience("live/*/0", [subscriber("two")])
    assert service.broadcast(entry("feed/*/0", "A")).done == 0


def test_a_gone_connection_that_hears_everyone_and_may_watch_others_too_is_looked_up() -> None:
    service = Service({"one": Outcome.GONE, "two": Outcome.GONE})
    service.audience("live-notifications/*/0", [subscriber("one")]).audience("live/*/0", [subscriber("two", "5")])
    service.broadcast(entry("notifications/*/0", "A"))
    gone = {each.connection_id: each for each in service.registry.gone}
    assert {each.stage for each in service.poster.deliveries} == {"live"}
    assert gone["one"] == Gone("one")
    assert gone["two"] == Gone("two", "5", ["connection/two", "live/*/0"])


@pytest.mark.parametrize(("now_s", "first"), [(NOW, "on presence"), (NOW + 1, "on feed")])
def test_feed_and_presence_take_turns_at_being_served_first(now_s: float, first: str) -> None:
    service = Service().audience("presence/*/0", [subscriber("on presence")])
    service.audience("feed/*/0", [subscriber("on feed")])
    service.broadcaster.broadcast([presence(NOW), presence(NOW, "feed/*/0")], ENDLESS, now_s=now_s)
    assert service.poster.deliveries[0].connection_id == first


@pytest.mark.parametrize(
    ("reach", "expected"),
    [
        ("narrow", ["presence/123", "feed/123", "watched/123"]),
        ("wide", ["presence/*/0", "feed/*/0", "live/*/0"]),
    ],
)
def test_each_function_serves_its_own_part_of_a_change_of_presence(reach: str, expected: list[str]) -> None:
    service = Service(reach=reach)
    records = sample("broadcast.presence")["Records"]
    for record in records:
        record["dynamodb"]["NewImage"]["event_id"] = {"S": make_event_id(int(NOW * 1000))}
    assert service.handle(*records).done == 1
    assert sorted(service.connections.read) == sorted(expected)


def test_a_change_of_presence_is_not_done_before_all_of_its_audiences_are() -> None:
    service = Service(reach="wide")
    service.connections.failing["feed/*/0"] = 0
    records = [*sample("broadcast.personal")["Records"], *sample("broadcast.presence")["Records"]]
    assert service.handle(*records).done == 2


# ---- what was served ------------------------------------------------------------------------------------------------


def test_a_wide_audience_that_was_served_is_noted() -> None:
    service = Service().audience("feed/*/0", [subscriber("one")]).audience("calls/123", [subscriber("two")])
    service.broadcast(entry("feed/*/0", "a"), entry("feed/*/0", "b"), entry("calls/123", "c"))
    assert service.served.marks == [(frozenset({"feed/*/0"}), int(NOW))]


def test_an_audience_is_not_noted_if_somebody_was_not_served_or_was_not_to_be() -> None:
    throttled = Service({"one": Outcome.THROTTLED}).audience("feed/*/0", [subscriber("one"), subscriber("two")])
    throttled.broadcast(entry("feed/*/0", "a"))
    some = Service()
    some.audience("feed/*/0", [subscriber("one")]).broadcast(entry("feed/*/0", "a", shown_to=frozenset({"123"})))
    assert throttled.served.marks == some.served.marks == []


def test_a_filter_lets_all_events_of_its_types_through() -> None:
    service = Service().audience("calls/123", [subscriber("one", types="call_started")])
    ended = entry("calls/123", "B", kind="call_ended")
    service.broadcast(entry("calls/123", "A"), ended, entry("calls/123", "C"))
    assert service.posted() == {"one": ["A", "C"]}


@pytest.mark.parametrize(
    ("types", "more"),
    [
        ("call_started", {}),
        ("", {"hidden_from": frozenset({"123"})}),
        ("", {"shown_to": frozenset({"789"})}),
    ],
    ids=["a filter", "hidden", "reserved"],
)
def test_no_rule_lets_an_event_of_another_audience_through(types: str, more: dict[str, Any]) -> None:
    service = Service().audience("calls/123", [subscriber("one", types=types)])
    service.audience("calls/789", [subscriber("two", "789")])
    service.broadcast(entry("calls/123", "A", **more), entry("calls/123", "B"), entry("calls/789", "C"))
    assert service.posted() == {"one": ["B"] if more else ["A", "B"], "two": ["C"]}


def test_subscribers_are_those_of_this_moment_and_posting_has_the_time_of_the_invocation() -> None:
    service = Service().audience("calls/123", [subscriber("one")]).audience("feed/*/0", [subscriber("two")])
    asked: list[int] = []
    found = service.connections.subscribers

    def subscribers(audience: str, now_s: int) -> Iterator[list[Subscriber]]:
        asked.append(now_s)
        return found(audience, now_s)

    service.connections.subscribers = subscribers  # type: ignore[method-assign]
    service.broadcast(entry("calls/123", "A"), entry("feed/*/0", "B"))
    assert set(asked) == {int(NOW)}
    assert service.poster.until == ENDLESS.post_until


def test_an_event_of_which_not_all_deliveries_were_drawn_is_not_done() -> None:
    service = Service(room=0).audience("feed/*/0", [subscriber("picky", types="listener_busy"), subscriber("all")])
    report = service.broadcast(entry("feed/*/0", "A"), entry("feed/*/0", "B", kind="listener_busy"))
    assert report.done == 0
    assert isinstance(report.problem, Unavailable)


def test_the_reason_why_a_wide_audience_could_not_be_read_is_reported() -> None:
    service = Service().audience("feed/*/0", [subscriber("one")])
    service.connections.failing["feed/*/0"] = 0
    report = service.broadcast(entry("feed/*/0", "A"))
    assert (report.done, str(report.problem)) == (0, "reading an audience: ThrottlingException")


def test_a_wide_audience_without_a_page_is_done() -> None:
    assert Service().audience("feed/*/0").broadcast(entry("feed/*/0", "A")) == Report(Counter(), done=1)


def test_connections_that_cannot_be_forgotten_are_counted_by_reason() -> None:
    service = Service({"one": Outcome.GONE, "two": Outcome.GONE}, forget_error=Unavailable("a table is away"))
    service.audience("calls/123", [subscriber("one"), subscriber("two")])
    assert service.broadcast(entry("calls/123", "A")).unforgotten == {"Unavailable: a table is away": 2}


def test_nobody_waits_for_a_thread_after_the_time_is_up() -> None:
    class Slow(Future[None]):
        def result(self, timeout: float | None = None) -> None:
            waited.append(timeout)
            raise TimeoutError

    waited: list[float | None] = []
    with pytest.raises(Unavailable, match="a table did not answer in time"):
        result_of(Slow(), until=time.monotonic() - 5)
    assert waited == [0.0]


def test_the_records_before_one_that_no_table_takes_count_as_done_too() -> None:
    service = Service()
    service.connections.errors["presence/123"] = Rejected("no audience of ours")
    report = service.handle(*sample("broadcast.personal")["Records"], *sample("broadcast.presence")["Records"])
    assert (report.done, report.problem, len(service.failures)) == (3, None, 1)


def identified(number: int, audience: str = "calls/123") -> Entry:
    event_id = make_event_id(int(NOW * 1000) + number, "x")
    return replace(entry(audience, f'{{"n":{number}}}'), event_id=event_id)


def includes(delivery: Delivery, *entries: Entry) -> list[list[int]]:
    """Return for each frame of a delivery which of the entries its position includes, by their numbers."""
    found = []
    for body in bodies(delivery):
        ((_, text),) = json.loads(body)["position"].items()
        missing = Position.parse(text).missing(each.event_id for each in entries)
        found.append([number for number, each in enumerate(entries) if each.event_id not in missing])
    return found


def test_each_event_brings_the_position_of_its_audience_after_all_that_was_posted_before() -> None:
    service = Service().audience("calls/123", [subscriber("one")])
    entries = [identified(number) for number in range(3)]
    service.broadcast(*entries[:2])
    service.broadcast(*entries[2:])
    assert [includes(each, *entries) for each in service.poster.deliveries] == [[[0], [0, 1]], [[0, 1, 2]]]


def test_a_position_leaves_out_what_was_handed_back() -> None:
    """Otherwise who loses the connection between the first and the second event would never receive the second."""
    service = Service({"two": Outcome.NOT_TRIED}).audience("calls/123", [subscriber("one")])
    service.audience("calls/789", [subscriber("two")])
    mine = [identified(1), identified(2)]
    for _ in range(2):
        assert service.broadcast(identified(0, "calls/789"), *mine).done == 0
    assert [includes(each, *mine) for each in service.poster.deliveries if each.connection_id == "one"] == [
        [[0], [0, 1]],
        [[0], [0, 1]],
    ]


@pytest.mark.parametrize(("reach", "lateness"), [("narrow", "Lateness"), ("wide", "WideLateness")])
def test_deliveries_and_how_late_their_events_were_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reach: str, lateness: str
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "realtime/prod")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "realtime")
    outcomes = {"gone": Outcome.GONE, "gone too": Outcome.GONE, "late": Outcome.LATE, "later": Outcome.LATE}
    service = Service(outcomes, reach=reach)
    service.audience("calls/123", [subscriber(each) for each in ("one", "two", "three", *outcomes)])
    at_ms = int(NOW * 1000) - 1500
    with metrics.of_invocation():
        service.broadcast(
            entry("calls/123", messages.encode("call_started", {}, at_ms)),
            entry("calls/123", messages.encode("call_started", {}, int(NOW * 1000) + 9)),  # another clock is ahead
            entry("calls/123", "of no known time"),
        )
    (line,) = (each for each in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in each)
    assert (line["Delivered"], line["Gone"], line["Late"]) == ([3.0], [2.0], [2.0])
    assert line[lateness] == [1500.0, 0.0]
    assert "Superseded" not in line


def test_states_that_a_newer_one_supersedes_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "realtime/prod")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "realtime")
    service = Service(reach="wide").audience("presence/*/0", [subscriber("one")])
    with metrics.of_invocation():
        service.broadcast(presence(NOW - 3), presence(NOW - 2), presence(NOW - 1))
    (line,) = (each for each in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in each)
    assert line["Superseded"] == [2.0]


def test_each_recipient_that_is_told_to_ask_is_counted() -> None:
    service = Service().audience("presence/*/0", [subscriber("one"), subscriber("two")])
    assert service.broadcast(presence(NOW - 30)).stale == 2


def test_which_events_went_to_which_connection_is_logged_at_debug_alone(logged: LogLines) -> None:
    service = Service({"gone": Outcome.GONE}).audience("calls/123", [subscriber("one"), subscriber("gone")])
    events = [entry("calls/123", "A", trace_id="of A"), entry("calls/123", "B", trace_id="of B")]
    service.broadcast(*events)
    assert not any(line["message"] == "posted" for line in logged.lines)
    before = logger().log_level
    logger().setLevel("DEBUG")
    try:
        service.broadcast(*events)
    finally:
        logger().setLevel(before)
    lines = [line for line in logged.lines if line["message"] == "posted"]
    assert [(line["level"], line["connection_id"], line["outcome"]) for line in lines] == [
        ("DEBUG", "one", "delivered"),
        ("DEBUG", "gone", "gone"),
    ]
    assert all((line["trace_ids"], line["reason"]) == (["of A", "of B"], "") for line in lines)
