"""What the page is told of the functions' logs: each line once to each page, and nothing from before."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from local import flow
from local.flow import Flow
from operate.logs import Line


class Logs:
    """The lines that come, as a reader gives them."""

    def __init__(self) -> None:
        self.coming: list[Line] = []
        self.since_ms: int | None = None
        self.reads = 0

    def reader(self, since_ms: int) -> Logs:
        self.since_ms = since_ms
        return self

    def add(self, function: str, message: str, **facts: Any) -> None:
        whole = {"level": "INFO", "location": "handler:1", "message": message, "service": "realtime", **facts}
        self.coming.append(Line(1000 + len(self.coming), function, "1", json.dumps(whole)))

    def read(self) -> list[Line]:
        self.reads += 1
        lines, self.coming = self.coming, []
        return lines


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture
def watched(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.setattr(flow, "_APART_SECONDS", 0.0)
    return Flow(logs.reader)


def told(watched: Flow, after: int) -> list[tuple[str, str]]:
    return [(line["function"], line["message"]) for line in watched.after(after)["lines"]]


def test_a_page_hears_what_is_logged_after_it_began_to_look(logs: Logs, watched: Flow) -> None:
    begun = watched.after(None)
    assert begun == {"last": 0, "lines": []}
    assert logs.since_ms == pytest.approx(time.time() * 1000, abs=5000)
    logs.add("connect", "connected")
    assert told(watched, begun["last"]) == [("connect", "connected")]


def test_each_of_several_pages_hears_each_line_once(logs: Logs, watched: Flow) -> None:
    first = watched.after(None)["last"]
    logs.add("ingest", "ingested")
    second = watched.after(None)["last"]  # it comes now: the line is of before
    logs.add("broadcast", "broadcast")
    assert told(watched, first) == [("ingest", "ingested"), ("broadcast", "broadcast")]
    assert told(watched, second) == [("broadcast", "broadcast")]
    assert told(watched, watched.after(first)["last"]) == []


def test_a_line_shows_counts_and_ids_and_nothing_nested(logs: Logs, watched: Flow) -> None:
    last = watched.after(None)["last"]
    logs.add("ingest", "ingested", detail_type="call_started", audiences=2, function_name="ingest", whole={"text": "x"})
    (line,) = watched.after(last)["lines"]
    assert line == {
        "at": 1000,
        "function": "ingest",
        "message": "ingested",
        "facts": {"detail_type": "call_started", "audiences": 2},
    }


@pytest.mark.parametrize("text", ["START RequestId: 1", "[]", "{}", "7"])
def test_what_is_no_line_of_a_functions_own_is_left_out(logs: Logs, watched: Flow, text: str) -> None:
    last = watched.after(None)["last"]
    logs.coming.append(Line(1, "connect", "1", text))
    assert watched.after(last)["lines"] == []


def test_many_pages_read_the_logs_no_more_often_than_one(logs: Logs) -> None:
    shared = Flow(logs.reader)
    last = shared.after(None)["last"]
    for _ in range(20):
        shared.after(last)
    assert logs.reads == 1


def test_a_page_that_was_away_for_long_hears_the_last_lines(logs: Logs, watched: Flow) -> None:
    last = watched.after(None)["last"]
    for number in range(700):
        logs.add("sweep", f"swept {number}")
    lines = watched.after(last)["lines"]
    assert len(lines) == 500
    assert lines[-1]["message"] == "swept 699"
