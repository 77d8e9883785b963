"""CloudWatch for tests: metrics by the minute, the metrics of log filters and printed lines, and the states of alarms.

The alarms are those of template.yaml. A data point belongs to a metric of one resource, or of none. Sources, below
docs.aws.amazon.com/AmazonCloudWatch/latest/:
    monitoring/alarm-evaluation.html             how many data points make an alarm, and what missing ones count for
    logs/FilterAndPatternSyntax.html             which lines a filter counts
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from operate.top.measures import as_cloudwatch_does
from samsocket.resolver import Resolver
from samsocket.template import Stack, Template
from tests.cloudformation import ROOT, resources, template


@cache
def _template() -> Template:
    return Template.read(ROOT / "template.yaml")


Name = tuple[str, str, str | None]  # namespace, metric, and the logical id of the resource that it is about
OWN = "realtime"  # the namespace of our own metrics, without the stack's name
_PATTERN = re.compile(r'\{ \$\.(\w+) = "([^"]*)" \}')


def named_in(dimensions: list[Mapping[str, Any]]) -> str | None:
    """Return the resource that the dimensions of a metric name."""
    values = [each["Value"] for each in dimensions if isinstance(each["Value"], Mapping)]
    references = [each.get("Ref") or each["Fn::GetAtt"][0] for each in values]
    return references[0] if references else None


def standing_alarms() -> dict[str, dict[str, Any]]:
    """Return the alarms that every stack has; those of a deployment exist only while traffic is moved."""
    found = resources("AWS::CloudWatch::Alarm").items()
    return {name: each for name, each in found if "Condition" not in template()["Resources"][name]}


class Alarm:
    """An alarm of the template."""

    def __init__(self, name: str, properties: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self.name = name
        namespace = properties["Namespace"]
        resource = named_in(properties.get("Dimensions", []))
        self.metric: Name = (namespace if isinstance(namespace, str) else OWN, properties["MetricName"], resource)
        self._is_sum = {"Sum": True, "Maximum": False}[properties["Statistic"]]
        self._minutes = int(properties["Period"]) // 60
        self._periods = int(properties["EvaluationPeriods"])
        self._needed = int(properties.get("DatapointsToAlarm", self._periods))
        stack = Stack(name="prod", region="us-east-1", account="123456789012", parameters=dict(parameters))
        self._threshold = float(Resolver(_template(), stack).resolve(properties["Threshold"]))
        self._is_less = properties["ComparisonOperator"] == "LessThanThreshold"
        self._counts_missing = properties["TreatMissingData"] == "breaching"

    def is_raised(self, points: Mapping[int, list[float]], minute: int) -> bool:
        """Return whether it is in ALARM after a minute, by the data points of its metric by minute."""
        breaching = 0
        for number in range(self._periods):
            last = minute - number * self._minutes
            values = [value for each in range(last - self._minutes + 1, last + 1) for value in points.get(each, ())]
            breaching += (
                self._breaches(sum(values) if self._is_sum else max(values)) if values else self._counts_missing
            )
        return breaching >= self._needed

    def _breaches(self, value: float) -> bool:
        return value < self._threshold if self._is_less else value > self._threshold


class CloudWatch:
    """Data points of one stack, and which alarms they have raised."""

    def __init__(self, **parameters: str) -> None:
        self.alarms = [Alarm(name, properties, parameters) for name, properties in standing_alarms().items()]
        self.minute = 0
        self.raised: dict[str, int] = {}  # the alarms, and the minute in which each was raised first
        self._points: defaultdict[Name, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))

    def put(self, namespace: str, metric: str, resource: str | None, value: float) -> None:
        """Note a data point of this minute."""
        self._points[namespace, metric, resource][self.minute].append(value)

    def total(self, namespace: str, metric: str, resource: str | None = None) -> float:
        """Return the sum of all data points of a metric."""
        return sum(value for values in self._points[namespace, metric, resource].values() for value in values)

    def log(self, log: str, text: str) -> None:
        """Take what a function wrote into its log: lines, and metrics among them."""
        for line in text.splitlines():
            for _, name, _, values in as_cloudwatch_does(line):
                for value in values:
                    self.put(OWN, name, None, value)
            for metric, value in _counted(log, json.loads(line)):
                self.put(OWN, metric, None, value)

    def end_minute(self) -> None:
        """Evaluate all alarms, and begin the next minute."""
        for alarm in self.alarms:
            if alarm.is_raised(self._points[alarm.metric], self.minute):
                self.raised.setdefault(alarm.name, self.minute)
        self.minute += 1


def _counted(log: str, line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the metrics that the filters of a log make of a line."""
    for each in resources("AWS::Logs::MetricFilter").values():
        found = _PATTERN.fullmatch(each["FilterPattern"])
        assert found, each["FilterPattern"]
        if each["LogGroupName"] == {"Ref": log} and line.get(found[1]) == found[2]:
            for metric in each["MetricTransformations"]:
                value = metric["MetricValue"]
                yield metric["MetricName"], float(line[value[2:]] if value.startswith("$.") else value)
