"""The time of an invocation, divided to the millisecond."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from typing import Any

import pytest

from realtime import bootstrap
from realtime.broadcast import Report
from realtime.invocation import Deadline
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
