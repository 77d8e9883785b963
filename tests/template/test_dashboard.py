"""The dashboard shows metrics that the functions print or AWS emits, of resources that exist, and every alarm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from aws_rules.rules.alarms import _METRICS, _OF_ACCOUNT
from operate.top.measures import SERVICE, VALUES
from realtime import metrics
from tests.cloudformation import resources, template
from tests.support.cloudwatch import standing_alarms

BODY: dict[str, Any] = json.loads(resources("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"])
OWN = {metric.name: metric for metric in metrics.ALL}
NAMESPACE = "realtime/${AWS::StackName}"


def shown() -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Yield the namespace, the name and the dimensions of each metric of the dashboard."""
    for widget in BODY["widgets"]:
        for row in widget["properties"].get("metrics", ()):
            namespace, name, *pairs = [each for each in row if isinstance(each, str)]
            yield namespace, name, tuple(zip(pairs[::2], pairs[1::2], strict=True))


@pytest.mark.parametrize("metric", sorted(set(shown())), ids=lambda metric: f"{metric[1]}-{metric[2][:1]}")
def test_each_metric_is_there(metric: tuple[str, str, tuple[tuple[str, str], ...]]) -> None:
    namespace, name, dimensions = metric
    if namespace == NAMESPACE:
        own = OWN[name]
        expected = {"service": [SERVICE]} | ({own.dimension: list(VALUES[own.dimension])} if own.dimension else {})
        assert dict(dimensions).keys() == expected.keys()
        assert all(value in expected[key] for key, value in dimensions)
        return
    if not dimensions:
        assert (namespace, name) in _OF_ACCOUNT
        return
    ((key, value),) = dimensions
    kind, attribute = _METRICS[namespace, name][key]
    resource, _, asked = value.removeprefix("${").removesuffix("}").partition(".")
    serverless = kind.replace("AWS::Lambda::", "AWS::Serverless::")
    assert (template()["Resources"][resource]["Type"] in {kind, serverless}, asked or None) == (True, attribute)


def test_the_namespace_is_the_one_in_which_the_functions_print() -> None:
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_SERVICE_NAME"] == SERVICE
    printed = variables["POWERTOOLS_METRICS_NAMESPACE"]
    assert printed == {"Fn::If": ["HasMetrics", {"Fn::Sub": NAMESPACE}, ""]}


def test_it_has_no_more_metrics_than_are_free() -> None:
    assert len(set(shown())) <= 50  # aws.amazon.com/cloudwatch/pricing: three dashboards of up to fifty metrics


def test_it_shows_every_alarm() -> None:
    (widget,) = (each for each in BODY["widgets"] if each["type"] == "alarm")
    named = [re.fullmatch(r"\$\{(\w+)\.Arn\}", each) for each in widget["properties"]["alarms"]]
    assert {each[1] for each in named if each} == set(standing_alarms())


def test_no_widget_covers_another() -> None:
    taken: set[tuple[int, int]] = set()
    for each in BODY["widgets"]:
        cells = {
            (each["x"] + right, each["y"] + down) for right in range(each["width"]) for down in range(each["height"])
        }
        assert not cells & taken, each["properties"]["title"]
        assert each["x"] + each["width"] <= 24
        taken |= cells
