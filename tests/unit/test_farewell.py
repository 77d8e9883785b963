"""Farewells: connections that may not stay get the reason and are closed, and no event waits for them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import farewell
from realtime import bootstrap
from realtime.errors import ConfigurationError, RateLimited
from realtime.farewell import RETRY_DELAYS_S, Farewell, Farewells, FarewellSender, read_farewell
from realtime.posting.delivery import Outcome
from realtime.tables.connections import Connection
from tests.logs import LogLines
from tests.samples import sample
from tests.unit.fakes import FakeOutbox, FakePoster, FakeQueue

NOW = 1_705_314_600_500
CONNECTION = Connection("RfGx1dQAIAMCIhA=", "feed", "123", NOW, NOW // 1000 + 3600)
REFUSED = Farewell("a=", "feed", "why", is_opening=True)
UNKNOWN = Farewell("b=", "calls", "come back", is_opening=False)


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def send(outcome: Outcome, *farewells: Farewell) -> tuple[dict[str, int], list[tuple[dict[str, Any], int]]]:
    """Send farewells that all have this outcome; return the counts, and the queued retries with their delays."""
    poster, queue = FakePoster({each.connection_id: outcome for each in farewells}), FakeQueue()
    counts = FarewellSender(poster, queue).send(farewells, until=0.0)
    return counts, [(body, delay) for body, delay, _ in queue.sent]


def test_a_refusal_is_recorded_for_default_and_queued_for_farewell() -> None:
    outbox, queue = FakeOutbox(), FakeQueue()
    Farewells(outbox, queue).refuse(CONNECTION, RateLimited(retry_after=3), NOW)
    (entry,) = outbox
    ((order, delay, _),) = queue.sent
    assert (entry.audience, entry.kind, entry.close, entry.is_streamed) == (
        "connection/RfGx1dQAIAMCIhA=",
        "error",
        True,
        False,
    )
    assert json.loads(entry.message)["data"] == {
        "code": "RATE_LIMITED",
        "message": "Too many requests",
        "retry_after": 3,
    }
    assert (order, delay) == (Farewell("RfGx1dQAIAMCIhA=", "feed", entry.message, is_opening=True).message()[0], 0)
    assert read_farewell(json.dumps(order)).frame == entry.message


def test_a_connection_that_is_sent_away_is_known_to_be_open() -> None:
    queue = FakeQueue()
    Farewells(FakeOutbox(), queue).send_away(CONNECTION, "reconnect", "the frame", NOW)
    ((order, _, _),) = queue.sent
    assert order["is_opening"] is False


def test_a_farewell_posts_the_frame_and_closes_the_connection() -> None:
    poster = FakePoster()
    assert FarewellSender(poster, FakeQueue()).send([REFUSED, UNKNOWN], until=0.0) == {"delivered": 2}
    delivery = poster.to("a=")
    assert ([frame.body for frame in delivery.frames], delivery.close, delivery.stage) == ([b"why"], True, "feed")
    assert delivery.connected_at_s == 0  # so that the engine does not wait for its handshake


def test_a_connection_that_may_be_opening_is_tried_again_later_and_then_given_up() -> None:
    each = REFUSED
    for tries, delay in enumerate(RETRY_DELAYS_S, start=1):
        counts, ((order, after),) = send(Outcome.GONE, each)
        assert (counts, after, order["tries"]) == ({"gone": 1}, delay, tries)
        each = Farewell(**order)
    assert send(Outcome.GONE, each) == ({"gone": 1}, [])


def test_an_open_connection_that_is_gone_is_not_tried_again() -> None:
    assert send(Outcome.GONE, UNKNOWN) == ({"gone": 1}, [])


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED, Outcome.NOT_YET_OPEN])
def test_a_connection_that_cannot_be_served_now_is_tried_again_later(outcome: Outcome) -> None:
    _, ((order, delay),) = send(outcome, UNKNOWN)
    assert (order, delay) == (replace(UNKNOWN, tries=1).message()[0], RETRY_DELAYS_S[0])
    assert send(outcome, replace(UNKNOWN, tries=len(RETRY_DELAYS_S)))[1] == []


@pytest.mark.parametrize("outcome", [Outcome.DELIVERED, Outcome.EXPIRED, Outcome.TOO_LARGE])
def test_a_farewell_with_a_final_outcome_is_not_tried_again(outcome: Outcome) -> None:
    assert send(outcome, REFUSED)[1] == []


def test_a_missing_right_is_raised_with_its_name() -> None:
    with pytest.raises(ConfigurationError, match="the role of farewell may not post: POST"):
        send(Outcome.FORBIDDEN, REFUSED)


def test_the_function_sends_the_farewells_of_its_queue(monkeypatch: pytest.MonkeyPatch, logged: LogLines) -> None:
    poster = FakePoster()
    monkeypatch.setattr(bootstrap, "farewell_sender", lambda: FarewellSender(poster, FakeQueue()))
    assert farewell.handler(sample("farewell.refused"), Context()) == {"batchItemFailures": []}
    assert "RfGx1dQAIAMCIhA=" in poster
    assert logged.lines[-1]["delivered"] == 1


@pytest.mark.parametrize("body", ["not JSON", "{}", "[]", '{"connection_id": "a="}'])
def test_a_message_that_is_no_farewell_is_given_up(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, body: str
) -> None:
    monkeypatch.setattr(bootstrap, "farewell_sender", lambda: FarewellSender(FakePoster(), FakeQueue()))
    event = sample("farewell.refused")
    event["Records"][0]["body"] = body
    assert farewell.handler(event, Context()) == {"batchItemFailures": []}
    assert (logged.lines[0]["level"], logged.lines[0]["message"]) == ("ERROR", "giving up a message")


def test_a_missing_right_is_raised_after_the_others_were_served() -> None:
    poster = FakePoster({"a=": Outcome.FORBIDDEN})
    with pytest.raises(ConfigurationError):
        FarewellSender(poster, FakeQueue()).send([REFUSED, UNKNOWN], until=0.0)
    assert "b=" in poster


def test_farewells_are_posted_until_the_given_time() -> None:
    poster = FakePoster()
    FarewellSender(poster, FakeQueue()).send([REFUSED], until=17.5)
    assert poster.until == 17.5


@pytest.mark.parametrize(
    "body",
    [
        '{"connection_id":"a","endpoint":"feed","frame":1,"is_opening":true}',
        '{"connection_id":["a"],"endpoint":"feed","frame":"{}","is_opening":true}',
        '{"connection_id":"a","endpoint":"feed","frame":"\\ud800","is_opening":true}',
        "[" * 5000,
        "[]",
    ],
)
def test_a_message_of_wrong_types_is_no_farewell(body: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_farewell(body)


def test_a_key_that_a_newer_version_adds_is_left_out() -> None:
    body = '{"connection_id":"a","endpoint":"feed","frame":"{}","is_opening":true,"added_later":[1]}'
    assert read_farewell(body).frame == "{}"
