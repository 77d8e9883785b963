"""A fake of CodeDeploy and CloudWatch: it shifts an alias by weights, and takes it back when an alarm goes off.

It does what the documents say of the resources in the transformed template, and is no proof of what AWS does:
docs.aws.amazon.com/codedeploy/latest/userguide/deployment-configurations.html (canary, linear, all at once),
docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html (M of N data points; missing data).
A minute is one step; `Canary10Percent10Minutes` gives every tenth request to the new version for ten steps.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aws_rules.stacks import Resource, Stack

Metric = tuple[str, str, str]
"""Namespace, name, and the logical id of the function; empty for a metric of the log filters."""

_SHIFT: Final = re.compile(
    r"CodeDeployDefault\.Lambda(?:(AllAtOnce)|(Canary|Linear)(\d+)Percent(?:Every)?(\d+)Minutes?)"
)
DELAY_MINUTES: Final = 1
"""How old a metric is when CloudWatch can evaluate it, about."""


@dataclass
class FakeCloudWatch:
    """Sums of metrics by minute."""

    minutes: list[Counter[Metric]] = field(default_factory=list)

    def begin_minute(self) -> None:
        self.minutes.append(Counter())

    def count(self, metric: Metric, number: int = 1) -> None:
        self.minutes[-1][metric] += number

    def is_in_alarm(self, stack: Stack, alarm: Resource) -> bool:
        """Evaluate an alarm over `SUM(FILL(METRICS(), 0))`, with what is old enough to be seen."""
        expressions = [each["Expression"] for each in alarm.properties["Metrics"] if "Expression" in each]
        assert expressions == ["SUM(FILL(METRICS(), 0))"]
        assert alarm.properties["ComparisonOperator"] == "GreaterThanThreshold"
        watched = [
            _metric(each["MetricStat"]["Metric"]) for each in alarm.properties["Metrics"] if "MetricStat" in each
        ]
        seen = self.minutes[: len(self.minutes) - DELAY_MINUTES][-int(alarm.properties["EvaluationPeriods"]) :]
        breaching = sum(sum(minute[name] for name in watched) > alarm.properties["Threshold"] for minute in seen)
        return bool(breaching >= int(alarm.properties["DatapointsToAlarm"]))


def _metric(described: Mapping[str, Any]) -> Metric:
    functions = [each["Value"]["Ref"] for each in described.get("Dimensions", []) if each["Name"] == "FunctionName"]
    return described["Namespace"], described["MetricName"], functions[0] if functions else ""


@dataclass
class FakeCodeDeploy:
    """One deployment of one function: `serve` is a minute of its traffic, given the share of the new version."""

    stack: Stack
    function: str  # its logical id
    cloudwatch: FakeCloudWatch
    serve: Callable[[float], None]
    share: float = 0.0
    minutes: int = 0

    def run(self) -> str:
        """Deploy; return Succeeded or Stopped, as GetDeployment names it. `share` is what the new version has then."""
        group, alarms = self._group()
        for share, lasts in _shifts(group.properties["DeploymentConfigName"]):
            self.share = share
            for _ in range(lasts):
                self.minutes += 1
                self.cloudwatch.begin_minute()
                self.serve(share)
                if any(self.cloudwatch.is_in_alarm(self.stack, alarm) for alarm in alarms):
                    assert "DEPLOYMENT_STOP_ON_ALARM" in group.properties["AutoRollbackConfiguration"]["Events"]
                    self.share = 0.0
                    return "Stopped"
        return "Succeeded"

    def _group(self) -> tuple[Resource, list[Resource]]:
        alias = self.stack.resources[f"{self.function}Aliaslive"]
        name = alias.attributes["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"]["Ref"]
        group = self.stack.resources[name]
        return group, [
            self.stack.resources[each["Name"]["Ref"]] for each in group.properties["AlarmConfiguration"]["Alarms"]
        ]


def _shifts(configuration: str) -> list[tuple[float, int]]:
    """Return the shares of the new version, each with how many minutes it lasts; the last share is all."""
    found = _SHIFT.fullmatch(configuration)
    assert found, configuration
    if found[1]:
        return [(1.0, 0)]
    percent, minutes = int(found[3]), int(found[4])
    if found[2] == "Canary":
        return [(percent / 100, minutes), (1.0, 0)]
    return [*((share / 100, minutes) for share in range(percent, 100, percent)), (1.0, 0)]
