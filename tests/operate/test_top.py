"""`realtime top`: what a stack does now, from the lines of its functions or from CloudWatch."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from operate.deployment import Deployment
from operate.logs import Line
from operate.top.frame import draw
from operate.top.measures import FromCloudWatch, FromLogs, Measures, as_cloudwatch_does, quantile
from operate.top.state import Alarms, Frame, Queue, StackObserver, as_json_line
from realtime import metrics

NOW = 1_767_225_600.0


def printed(capsys: pytest.CaptureFixture[str]) -> list[Line]:
    return [Line(int(NOW * 1000), "ingest", "1", text) for text in capsys.readouterr().out.splitlines()]


@pytest.fixture
def _namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "realtime/prod")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "realtime")


class Reader:
    """A reader of logs that gives each group of lines once."""

    def __init__(self, *groups: list[Line]) -> None:
        self.groups = list(groups)

    def read(self) -> list[Line]:
        return self.groups.pop(0) if self.groups else []


@pytest.mark.usefixtures("_namespace")
def test_the_lines_of_the_last_minute_are_measures(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics.of_invocation():
        metrics.count(metrics.EVENTS, 30, "call_started")
        metrics.count(metrics.EVENTS, 6, "call_ended")
        metrics.count(metrics.DELIVERED, 120)
        metrics.observe(metrics.LATENESS, [float(each) for each in range(1, 51)])
    lines = [Line(each.milliseconds, "ingest", "1", _at(each.text, NOW)) for each in printed(capsys)]
    other = [Line(0, "ingest", "1", text) for text in ("START", '{"_aws": 3}', '{"message":"ingested"}')]
    clock = iter((NOW, NOW + 61))
    source = FromLogs(Reader([*lines, *other]), clock=lambda: next(clock))  # type: ignore[arg-type]
    found = source.read()
    assert found.rates(metrics.EVENTS) == {"call_started": 0.5, "call_ended": 0.1}
    assert (found.rate(metrics.DELIVERED), found.rate(metrics.GONE)) == (2.0, 0.0)
    assert found.quantiles["Lateness"] == [25.0, 50.0]
    frame = Frame("prod", NOW, None, True, found, None, None)
    assert json.loads(as_json_line(frame))["measures"]["counts"]["Events"] == {"call_started": 30, "call_ended": 6}
    assert source.read().counts == {}  # a minute later


def _at(text: str, seconds: float) -> str:
    line = json.loads(text)
    line["_aws"]["Timestamp"] = int(seconds * 1000)
    return json.dumps(line)


def test_a_line_that_is_no_metric_is_left_out() -> None:
    for text in ("", "null", '{"_aws":{}}', '{"_aws":{"CloudWatchMetrics":[{"Dimensions":[],"Metrics":[]}]}}'):
        assert list(as_cloudwatch_does(text)) == []


def test_a_quantile_is_one_of_the_values() -> None:
    assert [quantile([3.0, 1.0, 2.0], part) for part in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


class CloudWatch:
    """The used part of CloudWatch: data points by name, value of the dimension and statistic."""

    def __init__(self, points: dict[tuple[str, str, str], dict[float, float]]) -> None:
        self.points = points
        self.asked = 0

    def get_metric_data(self, **request: Any) -> dict[str, Any]:
        queries = request["MetricDataQueries"]
        assert len(queries) <= 500
        first = "NextToken" not in request  # half of the answer on each page
        half = queries[: len(queries) // 2] if first else queries[len(queries) // 2 :]
        self.asked += len(half)
        more = {"NextToken": "2"} if first else {}
        return {"MetricDataResults": [self._result(each) for each in half], **more}

    def _result(self, query: dict[str, Any]) -> dict[str, Any]:
        stat = query["MetricStat"]
        assert stat["Metric"]["Namespace"] == "realtime/prod"
        value = next((each["Value"] for each in stat["Metric"]["Dimensions"] if each["Name"] != "service"), "")
        points = self.points.get((stat["Metric"]["MetricName"], value, stat["Stat"]), {})
        times = [datetime.fromtimestamp(each, UTC) for each in points]
        return {"Id": query["Id"], "Timestamps": times, "Values": list(points.values())}


def test_cloudwatch_is_asked_for_the_newest_minute_that_has_data() -> None:
    client = CloudWatch(
        {
            ("Events", "call_started", "Sum"): {NOW - 120: 60.0, NOW - 180: 6000.0},
            ("Delivered", "", "Sum"): {NOW - 180: 1.0},
            ("Lateness", "", "p50"): {NOW - 120: 250.0},
            ("Lateness", "", "p99"): {NOW - 120: 900.0},
        }
    )
    found = FromCloudWatch(client, "prod", clock=lambda: NOW + 3).read()
    assert (found.seconds, found.rates(metrics.EVENTS)) == (60, {"call_started": 1.0})
    assert (found.rate(metrics.DELIVERED), found.quantiles["Lateness"]) == (0.0, [250.0, 900.0])
    assert client.asked < 60


def test_cloudwatch_without_data_is_no_failure() -> None:
    assert FromCloudWatch(CloudWatch({}), "prod").read().counts == {}


def deployment(**fakes: Any) -> Deployment:
    """Return a stack whose clients are fakes."""

    class Clients:
        def __getattr__(self, service: str) -> Any:
            return lambda *_: fakes[service]

    outputs = {"ConnectionsTableName": "connections", "DeadlinesQueueUrl": "https://q/1", "BusName": "bus"}
    return Deployment(Clients(), "prod", "wss://example.com", outputs)  # type: ignore[arg-type]


class Tables:
    """A table of connections in two pages."""

    def scan(self, **request: Any) -> dict[str, Any]:
        assert request["FilterExpression"] == "attribute_exists(lease_until)"
        is_first = "ExclusiveStartKey" not in request
        names = ("live", "feed") if is_first else ("live",)
        more = {"LastEvaluatedKey": {"connection_id": {"S": "1"}}} if is_first else {}
        return {"Items": [{"endpoint": {"S": name}} for name in names], **more}


class Sqs:
    """A queue with messages."""

    def get_queue_attributes(self, **request: Any) -> dict[str, Any]:
        assert request["QueueUrl"] == "https://q/1"
        return {"Attributes": dict(zip(request["AttributeNames"], ("3", "2", "1"), strict=True))}


class Stacks:
    """The alarms of a stack."""

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        for kind, name in (
            ("AWS::CloudWatch::Alarm", "prod-Late"),
            ("AWS::CloudWatch::Alarm", "prod-Sweep"),
            ("AWS::SQS::Queue", "x"),
        ):
            yield {"StackResourceSummaries": [{"ResourceType": kind, "PhysicalResourceId": name}]}

    def describe_alarms(self, **request: Any) -> dict[str, Any]:
        states = {"prod-Late": "ALARM", "prod-Sweep": "OK"}
        return {"MetricAlarms": [{"AlarmName": each, "StateValue": states[each]} for each in request["AlarmNames"]]}


SOURCE = SimpleNamespace(read=lambda: Measures(60.0, {"Events": {"call_started": 30.0}}, {"Lateness": [100.0, 400.0]}))


def test_a_frame_has_connections_queues_and_alarms() -> None:
    stack = deployment(dynamodb=Tables(), sqs=Sqs(), cloudformation=Stacks(), client=Stacks())
    frame = StackObserver(stack, SOURCE, lambda: NOW).look()
    assert (frame.connections, frame.connections_are_all) == ({"live": 2, "feed": 1}, True)
    assert frame.queues == {"Deadlines": Queue(waiting=3, in_work=2, delayed=1)}
    assert frame.alarms == Alarms(["prod-Late"], quiet=1, without_data=0)
    assert frame.notes == []
    assert json.loads(as_json_line(frame))["alarms"]["raised"] == ["prod-Late"]


class Forbidden:
    """Clients without any right."""

    def __getattr__(self, _: str) -> Any:
        def refuse(*_: Any, **__: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "Anything")

        return refuse


def test_what_may_not_be_read_is_a_note_and_the_rest_is_shown() -> None:
    forbidden = Forbidden()
    stack = deployment(dynamodb=forbidden, sqs=Sqs(), cloudformation=forbidden, client=forbidden)
    frame = StackObserver(stack, SOURCE, lambda: NOW).look()
    assert (frame.connections, frame.alarms) == (None, None)
    assert frame.queues is not None
    assert [note.split(":")[0] for note in frame.notes] == ["connections", "alarms"]
    assert "connections: An error occurred" in shown(frame)


def shown(frame: Frame) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(draw(frame))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_frame_is_drawn_as_plain_text_where_there_is_no_terminal() -> None:
    queues = {"Deadlines": Queue(0, 0, 4), "RejectedEvents": Queue(2, 0, 0)}
    frame = Frame("prod", NOW, {"live": 1200}, False, SOURCE.read(), queues, Alarms(["prod-Late"], 28, 0))
    text = shown(frame)
    assert "prod  2026-01-01 00:00:00Z, rates over 60 s" in text
    assert "! in alarm: prod-Late (docs/runbook.md)" in text
    assert "≥ 1,200" in text
    assert "! RejectedEvents" in text
    assert "\x1b" not in text
    for name, value in (("events in", "0.50"), ("call_started", "0.50"), ("one user", "100")):
        assert any(name in line and value in line for line in text.splitlines()), name


def test_a_frame_of_which_nothing_is_known_is_drawn_too() -> None:
    assert "–" in shown(Frame("prod", NOW, None, True, None, None, None, ["metrics: no"]))
