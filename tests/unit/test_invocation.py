"""The time of an invocation, divided to the millisecond."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from realtime import bootstrap, trace
from realtime.aws import retries
from realtime.broadcast import Report
from realtime.errors import Unavailable
from realtime.invocation import Deadline, answer_queue, answer_stream, invoked
from realtime.log import logger
from tests.logs import LogLines
from tests.samples import sample

STARTED_AT = 5_000.0  # on the monotonic clock


class Context:
    """An invocation with a given time left."""

    def __init__(self, left_ms: int) -> None:
        self._left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._left_ms


@pytest.fixture(autouse=True)
def _monotonic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: STARTED_AT)


@pytest.mark.parametrize(
    ("left_ms", "answering_s", "forgetting_s", "post_until", "forget_until"),
    [
        (60_000, 1.0, 2.0, 5_057.0, 5_059.0),
        (60_000, 8.0, 0.0, 5_052.0, 5_052.0),
        (1_500, 0.25, 0.5, 5_000.75, 5_001.25),
        (500, 1.0, 2.0, 4_997.5, 4_999.5),  # too little: it is over before it began
    ],
)
def test_an_invocation_reserves_its_last_seconds_for_forgetting_and_then_for_its_answer(
    left_ms: int, answering_s: float, forgetting_s: float, post_until: float, forget_until: float
) -> None:
    deadline = Deadline.of(Context(left_ms), answering_s=answering_s, forgetting_s=forgetting_s)
    assert deadline == Deadline(post_until, forget_until)


class Recorder:
    """Replaces the object that a function calls, and records its deadline."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def handle(self, records: list[Any], deadline: Deadline, *, now_s: float) -> Report:
        self.given.append(deadline)
        return Report(outcomes=Counter(), done=len(records))

    def send(self, farewells: list[Any], until: float) -> dict[str, int]:
        self.given.append(until)
        return {}

    def sweep(self, now: int, until: float) -> dict[str, int]:
        self.given.append(until)
        return {}


@pytest.mark.parametrize(
    ("function", "maker", "event", "given"),
    [
        ("broadcast", "broadcaster", "broadcast.personal", Deadline(post_until=5_057.0, forget_until=5_059.0)),
        ("farewell", "farewell_sender", "farewell.refused", 5_058.0),
        ("sweep", "sweeper", "sweep", 5_052.0),
    ],
)
def test_a_function_stops_in_time_to_finish_its_work_and_to_answer(
    monkeypatch: pytest.MonkeyPatch, function: str, maker: str, event: str, given: object
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(bootstrap, maker, lambda: recorder)
    importlib.import_module(function).handler(sample(event), Context(60_000))
    assert recorder.given == [given]


def records(*ids: str) -> list[dict[str, Any]]:
    return [{"messageId": each, "dynamodb": {"SequenceNumber": each}} for each in ids]


def test_a_stream_goes_on_with_the_first_record_that_is_not_done(logged: LogLines) -> None:
    assert answer_stream(records("1", "2", "3"), 3, None) == {"batchItemFailures": []}
    assert logged.lines == []
    problem = Unavailable("a table does not answer")
    assert answer_stream(records("1", "2", "3"), 1, problem) == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    (line,) = logged.lines
    assert (line["level"], line["reason"]) == ("ERROR", "a table does not answer")


def test_a_stream_whose_first_record_is_not_done_is_halved_by_lambda() -> None:
    with pytest.raises(Unavailable, match="a table does not answer"):
        answer_stream(records("1", "2"), 0, Unavailable("a table does not answer"))


def test_the_messages_of_a_queue_that_are_not_done_come_again_alone() -> None:
    handled: list[str] = []

    def handle(record: Mapping[str, Any]) -> bool:
        handled.append(record["messageId"])
        return handled[-1] != "2"

    answer = answer_queue(records("1", "2", "3"), handle)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert handled == ["1", "2", "3"]


@pytest.mark.parametrize(("left_ms", "again"), [(3500, []), (3499, ["1", "2"])])
def test_messages_for_which_no_time_is_left_come_again_unhandled(left_ms: int, again: list[str]) -> None:
    """An attempt at a call takes 3 s at the most, and an answer half a second."""
    handle = retries.in_time(lambda event, _: answer_queue(records("1", "2"), lambda _: True))
    assert handle({}, Context(left_ms)) == {"batchItemFailures": [{"itemIdentifier": each} for each in again]}


class Known(Context):
    """An invocation with Lambda's id."""

    aws_request_id = "of Lambda"


@pytest.mark.parametrize(
    ("event", "trace_id"),
    [
        ({"requestContext": {"requestId": "of API Gateway"}}, "of API Gateway"),
        ({"requestContext": {"requestId": 7}}, "of Lambda"),
        ({"requestContext": {}}, "of Lambda"),
        ({"requestContext": "a text"}, "of Lambda"),
        ({"Records": []}, "of Lambda"),
        ("a text", "of Lambda"),
    ],
)
def test_an_invocation_is_traced_by_the_clients_request_or_else_by_its_own_id(
    logged: LogLines, event: object, trace_id: str
) -> None:
    @invoked
    def handler(_event: Any, _context: Any) -> tuple[str, float]:
        logger().info("here")
        return trace.current(), retries.latest()

    assert handler(event, Known(60_000)) == (trace_id, STARTED_AT + 60 - 3.5)
    (line,) = logged.lines
    assert line["function_request_id"] == "of Lambda"
    assert trace.current() == ""


def test_an_invocation_without_any_id_has_no_trace() -> None:
    assert invoked(lambda _event, _context: trace.current())({}, Context(60_000)) == ""
