from __future__ import annotations

import json
import time
from typing import Any

import pytest

import default
from realtime import bootstrap
from realtime.default import FrameHandler
from realtime.errors import BadRequest, ConfigurationError, RateLimited, RealtimeError, Rejected, Unavailable
from tests.logs import LogLines
from tests.samples import sample

NOW = 1_705_314_600.25


class Clerk(FrameHandler):
    """Answers with these words, or fails."""

    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer
        self.asked: list[tuple[str, str, str, int]] = []

    def answer(self, body: str, connection_id: str, endpoint: str, now: int) -> str:
        self.asked.append((body, connection_id, endpoint, now))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def clerk(monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> Clerk:
    found = Clerk(answer)
    monkeypatch.setattr(bootstrap, "frame_handler", lambda: found)
    monkeypatch.setattr(time, "time", lambda: NOW)
    return found


def body(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["statusCode"] == 200
    frame: dict[str, Any] = json.loads(answer["body"])
    return frame


def test_a_frame_is_asked_about_and_its_answer_returned_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = clerk(monkeypatch, "the answer").asked
    event = sample("default.ping")
    assert default.handler(event, None) == {"statusCode": 200, "body": "the answer"}
    assert asked == [(event["body"], "RfGx1dQAIAMCIhA=", "feed", 1_705_314_600_250)]


@pytest.mark.parametrize("absent", [{}, {"body": None}, {"body": ""}])
def test_no_body_is_an_empty_one(monkeypatch: pytest.MonkeyPatch, absent: dict[str, Any]) -> None:
    asked = clerk(monkeypatch, "the answer").asked
    event = sample("default.ping")
    del event["body"]
    default.handler(event | absent, None)
    assert asked[0][0] == ""


def test_a_refusal_is_answered_and_the_connection_lives(monkeypatch: pytest.MonkeyPatch, logged: LogLines) -> None:
    clerk(monkeypatch, RateLimited(retry_after=2))
    assert body(default.handler(sample("default.ping"), None))["data"] == {
        "code": "RATE_LIMITED",
        "message": "Too many requests",
        "retry_after": 2,
    }
    assert [(line["level"], line["code"]) for line in logged.lines] == [("WARNING", "RATE_LIMITED")]


@pytest.mark.parametrize("error", [Unavailable("DynamoDB is away"), ConfigurationError("no table")])
def test_what_is_our_fault_is_said_to_be_and_not_why(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, error: RealtimeError
) -> None:
    clerk(monkeypatch, error)
    told = body(default.handler(sample("default.ping"), None))["data"]
    assert (told["code"], told["retry_after"]) == ("INTERNAL", 1)
    assert str(error) not in told["message"]
    assert [(line["level"], line["reason"]) for line in logged.lines] == [("ERROR", str(error))]


def test_who_sent_what_no_table_takes_is_not_told_to_send_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clerk(monkeypatch, Rejected("writing to Connections: ValidationException"))
    told = body(default.handler(sample("default.ping"), None))["data"]
    assert told["code"] == "INTERNAL"
    assert "retry_after" not in told


def test_what_clients_send_is_not_logged(monkeypatch: pytest.MonkeyPatch, logged: LogLines) -> None:
    clerk(monkeypatch, BadRequest("type: unknown"))
    default.handler({**sample("default.ping"), "body": "hunter2"}, None)
    assert logged.lines
    assert "hunter2" not in logged.text
