"""Metrics: what happens in an invocation is counted, and printed at its end in CloudWatch's embedded metric format.

Each has at most one dimension, which has few values; none is about a user. The namespace is that of Powertools,
POWERTOOLS_METRICS_NAMESPACE; without one nothing is printed. An invocation prints a line for the metrics without a
dimension, and one for each value of a dimension that it met: usually one in all. docs/decisions/0053-metrics.md
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, NamedTuple

from aws_lambda_powertools.metrics import EphemeralMetrics

# While an invocation lasts longer, its metrics are printed so often: a batch for everyone may take 15 minutes. s
PRINT_SECONDS = 60.0
# Values of a metric in a line: a hundred are the most that CloudWatch takes, and Powertools prints when it has them.
MAX_VALUES = 99


class Metric(NamedTuple):
    """What is counted or measured."""

    name: str
    meaning: str
    dimension: str | None = None
    unit: Literal["Count", "Milliseconds"] = "Count"


OPENED: Final = Metric("ConnectionsOpened", "connections that were registered", "endpoint")
CLOSED: Final = Metric("ConnectionsClosed", "connections whose end API Gateway told, and that were known", "endpoint")
REFUSED: Final = Metric("Refused", "handshakes and frames that were answered with an error", "code")
EVENTS: Final = Metric("Events", "events of backends that were recorded", "type")
REJECTED: Final = Metric("RejectedEvents", "events of backends that break their schema, or came too late")
POSTS: Final = Metric("Posts", "requests to the management API that were answered: what uses up the budget")
THROTTLED: Final = Metric("Throttled", "of these, those that were answered with 429")
DELIVERED: Final = Metric("Delivered", "deliveries, of one or more frames to one connection, that arrived")
GONE: Final = Metric("Gone", "deliveries to connections that had gone")
LATE: Final = Metric("Late", "deliveries that left their lane, so that nobody waits for them")
SUPERSEDED: Final = Metric("Superseded", "states of users that were not posted, because a newer one was")
LATENESS: Final = Metric(
    "Lateness", "from an event of one user, by its own time, until it was posted", unit="Milliseconds"
)
WIDE_LATENESS: Final = Metric(
    "WideLateness", "the same of an event for everyone, until the last of its batch was posted", unit="Milliseconds"
)
REPLAYED: Final = Metric("Replayed", "messages that clients got by resume")
DEAD_LETTERS: Final = Metric("DeadLetters", "records and messages that were given up")

ALL: Final = (
    *(OPENED, CLOSED, REFUSED, EVENTS, REJECTED, POSTS, THROTTLED, DELIVERED, GONE, LATE, SUPERSEDED),
    *(LATENESS, WIDE_LATENESS, REPLAYED, DEAD_LETTERS),
)


class Measurements:
    """What one invocation has counted since it printed last."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._printed_at = time.monotonic()
        # By dimension and its value; None for the metrics that have none.
        self._counts: defaultdict[tuple[str, str] | None, Counter[Metric]] = defaultdict(Counter)
        self._values: defaultdict[Metric, list[float]] = defaultdict(list)

    def count(self, metric: Metric, number: int, value: str) -> None:
        """Count something; print if that is due."""
        self._counts[(metric.dimension, value) if metric.dimension else None][metric] += number
        if time.monotonic() - self._printed_at >= PRINT_SECONDS:
            self.print()

    def observe(self, metric: Metric, values: Sequence[float]) -> None:
        """Keep measured values, of a metric without a dimension."""
        self._values[metric] += values
        self._counts[None] += Counter()  # so that there is a line for them

    def print(self) -> None:
        """Print what was counted and measured, and begin anew."""
        for line in self._lines():
            line.flush_metrics()
        self._counts.clear()
        self._values.clear()
        self._printed_at = time.monotonic()

    def _lines(self) -> Iterator[EphemeralMetrics]:
        for of_dimension, counts in self._counts.items():
            line = EphemeralMetrics(namespace=self._namespace)
            if of_dimension is not None:
                line.add_dimension(*of_dimension)
            for metric, number in counts.items():
                line.add_metric(metric.name, metric.unit, number)
            if of_dimension is None:
                for metric, values in self._values.items():
                    for each in _sample(values):
                        line.add_metric(metric.name, metric.unit, each)
            yield line


_current: ContextVar[Measurements | None] = ContextVar("measurements", default=None)


@contextmanager
def of_invocation() -> Iterator[None]:
    """Print at the end what is counted meanwhile, whether the function succeeds or fails."""
    namespace = os.environ.get("POWERTOOLS_METRICS_NAMESPACE")
    if not namespace:
        yield
        return
    measurements = Measurements(namespace)
    before = _current.set(measurements)
    try:
        yield
    finally:
        _current.reset(before)
        measurements.print()


def count(metric: Metric, number: int = 1, value: str = "") -> None:
    """Count something that happened; `value` is that of the metric's dimension, if it has one."""
    measurements = _current.get()
    if measurements is not None and number:
        measurements.count(metric, number, value)


def observe(metric: Metric, values: Sequence[float]) -> None:
    """Note measured values."""
    measurements = _current.get()
    if measurements is not None and values:
        measurements.observe(metric, values)


def _sample(values: Sequence[float]) -> Sequence[float]:
    """Return as many values as a line takes, evenly among all in their order, the least and the greatest included."""
    if len(values) <= MAX_VALUES:
        return values
    ordered, step = sorted(values), (len(values) - 1) / (MAX_VALUES - 1)
    return [ordered[round(number * step)] for number in range(MAX_VALUES)]
