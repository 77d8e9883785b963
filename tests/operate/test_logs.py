"""Logs are read in the order of time, each line once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from operate.logs import LogReader, log_groups

GROUPS = {"connect": "stack-ConnectLog-1", "ingest": "stack-IngestLog-2"}


class Logs:
    """The used part of CloudWatch Logs: events by group."""

    def __init__(self) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {}

    def log(self, function: str, milliseconds: int, text: str, stream: str = "1") -> None:
        event = {"timestamp": milliseconds, "logStreamName": stream, "message": f"{text}\n"}
        self.events.setdefault(GROUPS[function], []).append(event)

    def get_paginator(self, operation: str) -> Logs:
        assert operation == "filter_log_events"
        return self

    def paginate(self, *, logGroupName: str, startTime: int) -> Iterator[dict[str, Any]]:  # noqa: N803
        if logGroupName not in self.events:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "FilterLogEvents")
        for event in self.events[logGroupName]:  # a page each
            if event["timestamp"] >= startTime:
                yield {"events": [event]}


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture
def reader(logs: Logs) -> LogReader:
    return LogReader(logs, GROUPS)  # type: ignore[arg-type]


def texts(reader: LogReader) -> list[str]:
    return [line.text for line in reader.read()]


def test_lines_of_several_functions_come_in_the_order_of_time(logs: Logs, reader: LogReader) -> None:
    logs.log("ingest", 2, "second")
    logs.log("connect", 1, "first")
    logs.log("connect", 3, "third")
    assert texts(reader) == ["first", "second", "third"]


def test_a_line_is_read_once(logs: Logs, reader: LogReader) -> None:
    logs.log("connect", 1, "first")
    assert texts(reader) == ["first"]
    assert texts(reader) == []


def test_a_line_of_the_same_millisecond_that_comes_later_is_not_missed(logs: Logs, reader: LogReader) -> None:
    logs.log("connect", 1, "same")
    assert texts(reader) == ["same"]
    logs.log("connect", 1, "same")
    logs.log("connect", 1, "other")
    assert texts(reader) == ["same", "other"]
    assert texts(reader) == []


def test_lines_before_a_given_time_are_left_out(logs: Logs) -> None:
    logs.log("connect", 1, "before")
    logs.log("connect", 2, "since")
    assert texts(LogReader(logs, GROUPS, since_ms=2)) == ["since"]  # type: ignore[arg-type]


def test_a_function_that_never_ran_has_no_lines(logs: Logs, reader: LogReader) -> None:
    logs.log("connect", 1, "first")
    assert texts(reader) == ["first"]


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch, logs: Logs, reader: LogReader) -> None:
    def denied(**_: Any) -> Iterator[dict[str, Any]]:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "FilterLogEvents")

    monkeypatch.setattr(logs, "paginate", denied)
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.read()


def test_functions_have_short_names() -> None:
    outputs = {"ConnectLogName": "a", "BroadcastWideLogName": "b", "BusName": "realtime"}
    assert log_groups(outputs) == {"connect": "a", "broadcast-wide": "b"}
