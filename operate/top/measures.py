"""What the functions count (realtime.metrics), lately: from CloudWatch, or from the lines that they print.

CloudWatch makes metrics of these lines. An emulator does not, so there the lines themselves are read.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from operate.logs import LogReader
from realtime import metrics
from realtime.backend_events import EVENT_TYPES
from realtime.errors import ClientError as Refusal
from realtime.messages import STAGES
from realtime.metrics import Metric

SERVICE = "realtime"
VALUES: Mapping[str, Sequence[str]] = {
    "endpoint": STAGES,
    "code": sorted(each.code for each in Refusal.__subclasses__()),
    "type": sorted(EVENT_TYPES),
}
"""The values that each dimension of our metrics may have."""
QUANTILES = (0.5, 0.99)
_PERIOD = 60  # s; of CloudWatch's data points
_DELAY = 180  # s; a data point may be so late


@dataclass(frozen=True)
class Measures:
    """What was counted in so many seconds; `values` by the value of a metric's dimension, "" if it has none."""

    seconds: float
    counts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    quantiles: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of QUANTILES, ms

    def rate(self, metric: Metric) -> float:
        """Return how much was counted a second, over all values of the dimension."""
        return sum(self.counts.get(metric.name, {}).values()) / self.seconds

    def rates(self, metric: Metric) -> dict[str, float]:
        """Return how much was counted a second, by the value of the dimension, the most first."""
        found = self.counts.get(metric.name, {})
        return {value: found[value] / self.seconds for value in sorted(found, key=lambda each: (-found[each], each))}


class Source(Protocol):
    """Where measures come from."""

    def read(self) -> Measures:
        """Return what was counted in the last `seconds`."""
        ...


def as_cloudwatch_does(text: str) -> Iterator[tuple[int, str, str, list[float]]]:
    """Yield the metrics in a line of a log: time (ms), name, value of the dimension and values; nothing if it has none.

    docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    if '"_aws"' not in text:
        return
    try:
        line = json.loads(text)
        for directive in line["_aws"]["CloudWatchMetrics"]:
            (names,) = directive["Dimensions"]
            dimension = next((name for name in names if name != "service"), None)
            for each in directive["Metrics"]:
                values = line[each["Name"]]
                of_line = [float(value) for value in (values if isinstance(values, list) else [values])]
                yield line["_aws"]["Timestamp"], each["Name"], str(line[dimension]) if dimension else "", of_line
    except (KeyError, TypeError, ValueError):
        return  # a line of somebody else


class FromLogs:
    """Reads the lines that the functions print, of the last `seconds`."""

    def __init__(self, reader: LogReader, *, seconds: float = 60.0, clock: Callable[[], float] = time.time) -> None:
        """Take a reader that begins so many seconds ago."""
        self._reader = reader
        self._seconds = seconds
        self._clock = clock
        self._kept: deque[tuple[int, str, str, list[float]]] = deque()

    def read(self) -> Measures:
        """Return what was counted in the last seconds."""
        for line in self._reader.read():
            self._kept.extend(as_cloudwatch_does(line.text))
        since = (self._clock() - self._seconds) * 1000
        self._kept = deque(each for each in self._kept if each[0] >= since)
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        values: defaultdict[str, list[float]] = defaultdict(list)
        for _, name, value, numbers in self._kept:
            counts[name][value] += sum(numbers)  # type: ignore[assignment]  # a Counter of floats
            values[name] += numbers
        names = [each.name for each in metrics.ALL if each.unit == "Milliseconds" and each.name in values]
        quantiles = {name: [quantile(values[name], q) for q in QUANTILES] for name in names}
        return Measures(self._seconds, _plain(counts), quantiles)


class FromCloudWatch:
    """Asks CloudWatch for the newest complete minute. A thousand metrics are $0.01, and this asks for some forty."""

    def __init__(self, client: Any, stack: str, *, clock: Callable[[], float] = time.time) -> None:
        """Take a client of CloudWatch."""
        self._client = client
        self._stack = stack
        self._clock = clock

    def read(self) -> Measures:
        """Return what was counted in the newest minute of which there are data points."""
        queries = dict(enumerate(self._queries()))
        end = self._clock() // _PERIOD * _PERIOD
        found: dict[int, dict[float, float]] = {}
        request: dict[str, Any] = {
            "StartTime": end - _PERIOD - _DELAY,
            "EndTime": end,
            "MetricDataQueries": [{"Id": f"m{number}", **query} for number, (*_, query) in queries.items()],
        }
        while True:
            answer = self._client.get_metric_data(**request)
            for each in answer["MetricDataResults"]:
                times = (moment.timestamp() for moment in each["Timestamps"])
                found.setdefault(int(each["Id"][1:]), {}).update(zip(times, each["Values"], strict=True))
            if not answer.get("NextToken"):
                break
            request["NextToken"] = answer["NextToken"]
        newest = max((moment for points in found.values() for moment in points), default=0.0)
        counts: defaultdict[str, dict[str, float]] = defaultdict(dict)
        quantiles: defaultdict[str, list[float]] = defaultdict(list)
        for number, (metric, value, _) in queries.items():
            if newest in found.get(number, {}):
                if metric.unit == "Milliseconds":
                    quantiles[metric.name].append(found[number][newest])
                else:
                    counts[metric.name][value] = found[number][newest]
        return Measures(_PERIOD, _plain(counts), dict(quantiles))

    def _queries(self) -> Iterator[tuple[Metric, str, dict[str, Any]]]:
        for metric in metrics.ALL:
            statistics = [f"p{q * 100:g}" for q in QUANTILES] if metric.unit == "Milliseconds" else ["Sum"]
            for value in VALUES[metric.dimension] if metric.dimension else [""]:
                dimensions = [{"Name": "service", "Value": SERVICE}]
                if metric.dimension:
                    dimensions.append({"Name": metric.dimension, "Value": value})
                named = {"Namespace": f"realtime/{self._stack}", "MetricName": metric.name, "Dimensions": dimensions}
                for statistic in statistics:
                    yield metric, value, {"MetricStat": {"Metric": named, "Period": _PERIOD, "Stat": statistic}}


def _plain(counts: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return counts in dictionaries of no special kind, which `dataclasses.asdict` can copy."""
    return {name: dict(each) for name, each in counts.items()}


def quantile(values: Sequence[float], part: float) -> float:
    """Return the least value that so many of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]
