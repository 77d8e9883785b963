from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from realtime.errors import Unavailable
from realtime.late import (
    CLOSING_TRIES,
    MAX_FRAMES_BYTES,
    MAX_TRIES,
    PROBES,
    RETRY_DELAYS_S,
    LateLane,
    Straggler,
    read_straggler,
)
from realtime.posting.delivery import D, Delivery, Frame, Outcome, Result
from realtime.tables.registry import Gone
from tests.unit.fakes import FakePoster, FakeQueue, FakeRegistry, FakeStragglers

NOW_MS = 1_705_314_600_250
LATE = Straggler("one", "calls", 1_705_314_000.0, [("A", None), ("B", 1_705_314_700)], "t1")
TO_CLOSE = Straggler("one", "calls", 1_705_314_000.0, None)


class ScriptedPoster(FakePoster):
    """A FakePoster whose outcomes may differ for posts and closings, and for connections that do not exist."""

    def __init__(self, post: Outcome = Outcome.DELIVERED, close: Outcome = Outcome.DELIVERED) -> None:
        super().__init__()
        self._post, self._close = post, close
        self.account = Outcome.GONE  # what a probe meets
        self.probes = 0

    def deliver(self, deliveries: Iterable[D], *, until: float, in_lane: bool = False) -> Iterator[Result[D]]:
        for each in deliveries:
            if each.connection_id.startswith("AAAA"):
                self.probes += 1
                yield Result(each, self.account)
                continue
            self.deliveries.append(each)
            outcome = self._post if each.frames else self._close
            yield Result(each, outcome, self.sent.get(each.connection_id, 0))


class Service:
    def __init__(
        self, post: Outcome = Outcome.DELIVERED, close: Outcome = Outcome.DELIVERED, forget_error: Any = None
    ) -> None:
        self.journal: list[str] = []
        self.stragglers = FakeStragglers(self.journal)
        self.stragglers.late = {"one t1"}
        self.registry = FakeRegistry(forget_error)
        self.poster = ScriptedPoster(post, close)
        self.queue = FakeQueue(self.journal)
        self.lane = LateLane(self.stragglers, self.registry, self.poster, self.queue)

    def serve(self, *stragglers: Straggler) -> set[str]:
        """Serve messages; return the numbers of those that must come again."""
        messages = {str(number): each for number, each in enumerate(stragglers)}
        self.counts, failed = self.lane.serve(messages, 1e9, NOW_MS)
        return failed

    @property
    def methods(self) -> list[str]:
        """What was done to each connection: posted frames, or closed."""
        return [
            "close" if each.close and not each.frames else b" ".join(frame.body for frame in each.frames).decode()
            for each in self.poster.deliveries
        ]


def test_a_straggler_gets_its_frames_in_order_and_is_healed() -> None:
    service = Service()
    assert service.serve(LATE) == set()
    (posted,) = service.poster.deliveries
    assert [(each.body, each.not_after_s) for each in posted.frames] == [(b"A", None), (b"B", 1_705_314_700)]
    assert (posted.stage, posted.connection_id, posted.connected_at_s) == ("calls", "one", 1_705_314_000.0)
    assert not service.stragglers.late
    assert not service.registry.gone
    assert service.counts == {"healed": 1}


@pytest.mark.parametrize("outcome", [Outcome.EXPIRED, Outcome.TOO_LARGE])
def test_frames_that_no_client_would_get_do_not_keep_a_connection_behind(outcome: Outcome) -> None:
    service = Service(outcome)
    service.serve(LATE)
    assert not service.stragglers.late


def test_a_straggler_that_missed_events_meanwhile_is_closed_and_forgotten() -> None:
    service = Service()
    service.stragglers.before["heal"] = lambda: service.stragglers.skipped.add("one")
    service.serve(LATE)
    assert service.methods == ["A B", "close"]
    assert service.registry.gone == [Gone("one")]
    assert not service.stragglers.late | service.stragglers.skipped


def test_a_straggler_that_is_known_to_have_missed_events_is_sent_no_frames() -> None:
    service = Service()
    service.stragglers.skipped = {"one"}
    service.serve(LATE)
    assert service.methods == ["close"]


def test_an_order_to_close_closes_a_connection_that_is_behind_even_before_it_is_noted_as_skipped() -> None:
    service = Service()
    service.serve(TO_CLOSE)
    assert service.methods == ["close"]
    assert service.registry.gone == [Gone("one")]
    assert not service.stragglers.late


@pytest.mark.parametrize("message", [replace(LATE, token="before"), replace(LATE, connection_id="other")])
def test_a_message_that_comes_again_after_its_end_does_nothing(message: Straggler) -> None:
    service = Service()
    service.serve(message)
    assert not service.poster.deliveries
    assert service.stragglers.late == {"one t1"}


def test_an_order_to_close_a_connection_that_was_healed_does_nothing() -> None:
    service = Service()
    service.stragglers.late = set()
    service.serve(TO_CLOSE)
    assert not service.poster.deliveries


def test_the_frames_of_another_message_keep_a_connection_behind() -> None:
    service = Service()
    service.stragglers.late = {"one t1", "one t2"}
    service.serve(LATE)
    assert service.stragglers.late == {"one t2"}


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.THROTTLED])
def test_a_straggler_that_cannot_be_served_is_closed(outcome: Outcome) -> None:
    service = Service(outcome)
    service.serve(LATE)
    assert service.methods == ["A B", "close"]
    assert service.registry.gone == [Gone("one")]
    assert service.poster.probes == (PROBES if outcome is Outcome.THROTTLED else 0)


def test_a_straggler_that_is_gone_is_forgotten() -> None:
    service = Service(Outcome.GONE)
    service.serve(LATE)
    assert service.methods == ["A B"]
    assert service.registry.gone == [Gone("one")]
    assert not service.stragglers.late


def test_a_straggler_that_was_to_be_closed_after_its_frames_is_forgotten() -> None:
    service = Service()
    service.serve(replace(LATE, close=True))
    assert service.poster.to("one").close
    assert service.registry.gone == [Gone("one")]
    assert not service.stragglers.late


@pytest.mark.parametrize(
    ("post", "close"), [(Outcome.THROTTLED, Outcome.DELIVERED), (Outcome.FAILED, Outcome.THROTTLED)]
)
def test_nobody_is_closed_or_forgotten_because_the_account_is_throttled(post: Outcome, close: Outcome) -> None:
    service = Service(post, close)
    service.poster.account = Outcome.THROTTLED
    service.serve(LATE)
    assert not service.registry.gone
    assert service.stragglers.late == {"one t1"}
    ((body, delay_s, _),) = service.queue.sent
    assert (body["tries"], delay_s) == (1, RETRY_DELAYS_S[0])


def test_frames_that_were_delivered_are_not_posted_again() -> None:
    service = Service(Outcome.NOT_YET_OPEN)
    service.poster.sent["one"] = 1
    service.serve(LATE)
    assert [body["frames"] for body, _, _ in service.queue.sent] == [[("B", 1_705_314_700)]]


@pytest.mark.parametrize("outcome", [Outcome.NOT_YET_OPEN, Outcome.NOT_TRIED])
@pytest.mark.parametrize("message", [LATE, TO_CLOSE])
def test_a_connection_that_may_yet_open_or_was_not_tried_is_tried_again_later(
    outcome: Outcome, message: Straggler
) -> None:
    service = Service(outcome, outcome)
    service.serve(replace(message, tries=2))
    ((body, delay_s, _),) = service.queue.sent
    assert read_straggler(str_of(body)) == replace(message, tries=3)
    assert delay_s == RETRY_DELAYS_S[2]
    assert service.stragglers.late == {"one t1"}


@pytest.mark.parametrize("close", [Outcome.FAILED, Outcome.THROTTLED])
def test_a_connection_that_can_be_neither_served_nor_closed_is_forgotten_and_closed_later(close: Outcome) -> None:
    service = Service(Outcome.FAILED, close)
    service.serve(LATE)
    assert service.registry.gone == [Gone("one", may_live=True)]
    assert not service.stragglers.late
    ((body, _, _),) = service.queue.sent
    again = read_straggler(str_of(body))
    assert (again.is_forgotten, again.frames) == (True, None)
    assert service.serve(again) == set()
    assert service.methods == ["A B", "close", "close"]
    assert service.registry.gone == [Gone("one", may_live=True)]


def test_a_connection_that_waited_for_too_long_is_forgotten() -> None:
    service = Service(Outcome.THROTTLED, Outcome.THROTTLED)
    service.poster.account = Outcome.THROTTLED
    service.serve(replace(LATE, tries=MAX_TRIES))
    assert service.registry.gone == [Gone("one", may_live=True)]


def test_a_forgotten_connection_is_not_closed_for_ever() -> None:
    service = Service(close=Outcome.FAILED)
    service.serve(replace(TO_CLOSE, is_forgotten=True, tries=CLOSING_TRIES))
    assert not service.queue.sent


def test_messages_for_which_there_is_no_time_come_again() -> None:
    service = Service()
    service.stragglers.late = {"one t1", "two t2", "three t3"}
    service.stragglers.skipped = {"three"}
    service.lane = LateLane(service.stragglers, service.registry, FakePoster(room=0), service.queue)
    messages = [replace(LATE, connection_id=name, token=token) for name, token in (("two", "t2"), ("three", "t3"))]
    assert service.serve(LATE, *messages) == {"1"}
    assert [body["tries"] for body, _, _ in service.queue.sent] == [1, 1]  # one was drawn of each kind


def test_what_cannot_be_noted_comes_again_and_harms_no_other_message() -> None:
    service = Service()
    service.stragglers.late = {"one t1", "two t2"}
    service.stragglers.errors["heal"] = Unavailable("ThrottlingException")
    two = replace(LATE, connection_id="two", frames=None, token="t2")
    assert service.serve(LATE, two) == {"0"}
    assert service.registry.gone == [Gone("two")]


def test_a_connection_that_cannot_be_forgotten_stays_behind_and_comes_again() -> None:
    service = Service(Outcome.GONE, forget_error=Unavailable("ThrottlingException"))
    assert service.serve(LATE) == {"0"}
    assert service.stragglers.late == {"one t1"}


def test_what_the_role_may_not_do_comes_again_and_ends_in_the_dead_letter_queue() -> None:
    service = Service(Outcome.FORBIDDEN, Outcome.FORBIDDEN)
    assert service.serve(LATE) == {"0"}
    assert not service.registry.gone
    assert service.stragglers.late == {"one t1"}


@pytest.mark.parametrize("body", ["[", "[]", '"x"', "{}", '{"connection_id": 1, "what": 2}', "[" * 2000])
def test_a_message_of_somebody_else_is_not_read(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # its text is json's, or Python's
        read_straggler(body)


@pytest.mark.parametrize(("size", "fits"), [(MAX_FRAMES_BYTES - 2, True), (MAX_FRAMES_BYTES - 1, False)])
def test_frames_that_fit_into_one_message_are_queued_as_they_are_escaped(size: int, fits: bool) -> None:
    delivery = Delivery("feed", "one", [Frame("ü".encode()), Frame(b"x" * (size - 8))], 0.0)
    assert (Straggler.of(delivery, "t", 0).frames is not None) is fits


def str_of(body: dict[str, Any]) -> str:
    return json.dumps(body)
