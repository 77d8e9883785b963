from __future__ import annotations

import json
import time
from typing import Any

import pytest

import default
from realtime import bootstrap
from realtime.default import FrameHandler
from realtime.errors import BadRequest, ConfigurationError, RateLimited, RealtimeError, Rejected, Unavailable
from realtime.watch_state import make_revision
from tests.logs import LogLines
from tests.samples import sample

NOW = 1_705_314_600.25


class FakeFrameHandler(FrameHandler):
    """Gives the same answer to every frame, or raises the same error."""

    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer
        self.calls: list[tuple[str, str, str, str, int]] = []

    def answer(self, body: str, connection_id: str, endpoint: str, revision: str, now_ms: int) -> str:
        self.calls.append((body, connection_id, endpoint, revision, now_ms))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def install(monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> FakeFrameHandler:
    """Give the function a fake frame handler at a fixed time."""
    frame_handler = FakeFrameHandler(answer)
    monkeypatch.setattr(bootstrap, "frame_handler", lambda: frame_handler)
    monkeypatch.setattr(time, "time", lambda: NOW)
    return frame_handler


def body(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["statusCode"] == 200
    frame: dict[str, Any] = json.loads(answer["body"])
    return frame


def test_the_answer_of_the_frame_handler_is_returned_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install(monkeypatch, "the answer").calls
    event = sample("default.ping")
    assert default.handler(event, None) == {"statusCode": 200, "body": "the answer"}
    revision = make_revision(1_705_314_630_000, "RfGy4c8koAMCIhA=")
    assert calls == [(event["body"], "RfGx1dQAIAMCIhA=", "feed", revision, 1_705_314_600_250)]


@pytest.mark.parametrize("absent", [{}, {"body": None}, {"body": ""}])
def test_a_missing_body_is_read_as_empty(monkeypatch: pytest.MonkeyPatch, absent: dict[str, Any]) -> None:
    calls = install(monkeypatch, "the answer").calls
    event = sample("default.ping")
    del event["body"]
    default.handler(event | absent, None)
    assert calls[0][0] == ""


def test_a_refusal_is_answered_with_an_error_frame(monkeypatch: pytest.MonkeyPatch, logged: LogLines) -> None:
    install(monkeypatch, RateLimited(retry_after=2))
    assert body(default.handler(sample("default.ping"), None))["data"] == {
        "code": "RATE_LIMITED",
        "message": "Too many requests",
        "retry_after": 2,
    }
    assert [(line["level"], line["code"]) for line in logged.lines] == [("WARNING", "RATE_LIMITED")]


@pytest.mark.parametrize("error", [Unavailable("DynamoDB is away"), ConfigurationError("no table")])
def test_a_failure_of_the_service_is_answered_without_its_reason(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, error: RealtimeError
) -> None:
    install(monkeypatch, error)
    data = body(default.handler(sample("default.ping"), None))["data"]
    assert (data["code"], data["retry_after"]) == ("INTERNAL", 1)
    assert str(error) not in data["message"]
    assert [(line["level"], line["reason"]) for line in logged.lines] == [("ERROR", str(error))]


def test_a_client_is_not_asked_to_repeat_a_frame_that_aws_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Rejected("writing to Connections: ValidationException"))
    data = body(default.handler(sample("default.ping"), None))["data"]
    assert data["code"] == "INTERNAL"
    assert "retry_after" not in data


def test_frames_of_clients_are_not_logged(monkeypatch: pytest.MonkeyPatch, logged: LogLines) -> None:
    install(monkeypatch, BadRequest("type: unknown"))
    default.handler({**sample("default.ping"), "body": "hunter2"}, None)
    assert logged.lines
    assert "hunter2" not in logged.text
