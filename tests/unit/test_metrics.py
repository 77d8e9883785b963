"""What is counted in an invocation is printed at its end, in a form of which CloudWatch makes metrics."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from realtime import metrics
from realtime.invocation import invoked
from realtime.metrics import MAX_VALUES, PRINT_SECONDS

NAMESPACE = "realtime/prod"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", NAMESPACE)
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "realtime")


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_is_counted_in_an_invocation_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics.of_invocation():
        metrics.count(metrics.DELIVERED, 2)
        metrics.count(metrics.DELIVERED, 3)
        metrics.count(metrics.GONE)
        metrics.observe(metrics.LATENESS, [120.0, 80.0])
    (line,) = printed(capsys)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"], line["service"]) == (NAMESPACE, [["service"]], "realtime")
    assert {each["Name"]: each["Unit"] for each in directive["Metrics"]} == {
        "Delivered": "Count",
        "Gone": "Count",
        "Lateness": "Milliseconds",
    }
    assert (line["Delivered"], line["Gone"], line["Lateness"]) == ([5.0], [1.0], [120.0, 80.0])


def test_each_value_of_a_dimension_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics.of_invocation():
        for kind in ("call_started", "call_ended", "call_started"):
            metrics.count(metrics.EVENTS, value=kind)
    assert {line["type"]: line["Events"] for line in printed(capsys)} == {"call_started": [2.0], "call_ended": [1.0]}


def test_a_function_that_fails_prints_what_it_counted(capsys: pytest.CaptureFixture[str]) -> None:
    @invoked
    def handler(_event: dict[str, Any], _context: Any) -> None:
        metrics.count(metrics.POSTS, 7)
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        handler({}, None)
    assert [line["Posts"] for line in printed(capsys)] == [[7.0]]


def test_nothing_is_printed_where_nothing_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics.of_invocation():
        metrics.count(metrics.POSTS, 0)
        metrics.observe(metrics.LATENESS, [])
    assert printed(capsys) == []


def test_nothing_is_printed_without_a_namespace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "")
    with metrics.of_invocation():
        metrics.count(metrics.POSTS, 5)
    assert printed(capsys) == []


def test_a_long_invocation_prints_each_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with metrics.of_invocation():
        for _ in range(5):
            metrics.count(metrics.POSTS, 10)
            now += PRINT_SECONDS / 2
    assert [line["Posts"] for line in printed(capsys)] == [[30.0], [20.0]]


def test_of_many_values_a_line_has_a_sample_with_the_least_and_the_greatest(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics.of_invocation():
        metrics.observe(metrics.WIDE_LATENESS, [float(each) for each in range(10_000)])
    (line,) = printed(capsys)
    values = line["WideLateness"]
    assert (len(values), values[0], values[-1]) == (MAX_VALUES, 0.0, 9999.0)
    assert values[MAX_VALUES // 2] == pytest.approx(5000, rel=0.01)


def test_no_metric_has_more_than_one_dimension_and_none_is_about_a_user() -> None:
    assert {metric.dimension for metric in metrics.ALL} == {None, "endpoint", "code", "type"}
    assert len({metric.name for metric in metrics.ALL}) == len(metrics.ALL)
