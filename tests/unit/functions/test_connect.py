from __future__ import annotations

import json
from typing import Any, Literal, cast

import pytest

import connect
from realtime import bootstrap
from realtime.connect import Admission
from realtime.errors import (
    AuthFailed,
    BadRequest,
    ClientError,
    ConfigurationError,
    ConnectionLimit,
    Internal,
    PermissionDenied,
    RealtimeError,
    Unavailable,
)
from realtime.farewell import Farewells
from realtime.handshake import Handshake
from realtime.strangers import Strangers
from realtime.tables.connections import Connection
from tests.logs import LogLines
from tests.samples import sample
from tests.unit.fakes import FakeOutbox, FakeQueue

Mode = Literal["frame", "handshake"]
REFUSALS: list[type[ClientError]] = [AuthFailed, PermissionDenied, ConnectionLimit, BadRequest, Internal]


class FakeStrangers(Strangers):
    """Never too many."""

    def __init__(self) -> None:
        pass

    def are_too_many(self, address: str, now_ms: int) -> bool:
        return False


class FakeAdmission(Admission):
    """Admits every client, or raises the same error for each."""

    def __init__(self, error: Exception | None, mode: Mode, unavailable: Exception | None = None) -> None:
        super().__init__(
            cast("Any", None),
            cast("Any", None),
            self._make_farewells,
            lambda: self.outbox,
            FakeStrangers,
            rejection_mode=mode,
            shards=4,
            lease_seconds=900,
            max_connections=20,
            policy="evict",
        )
        self.outbox, self.queue = FakeOutbox(), FakeQueue()
        self.handshakes: list[Handshake] = []
        self._error = error
        self._unavailable = unavailable

    def admit(self, handshake: Handshake, now_ms: int) -> Connection:
        self.handshakes.append(handshake)
        if self._error:
            raise self._error
        return Connection(handshake.connection_id, handshake.stage, "123", handshake.connected_at_ms, 0)

    def _make_farewells(self) -> Farewells:
        if self._unavailable:
            raise self._unavailable
        return Farewells(self.outbox, self.queue)


def install(
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None = None,
    mode: Mode = "frame",
    *,
    unavailable: Exception | None = None,
) -> FakeAdmission:
    """Give the function a fake admission; creating its farewells may raise `unavailable`."""
    admission = FakeAdmission(error, mode, unavailable)
    monkeypatch.setattr(bootstrap, "admission", lambda: admission)
    return admission


def test_an_accepted_client_is_answered_200(monkeypatch: pytest.MonkeyPatch, logged: LogLines) -> None:
    admission = install(monkeypatch)
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 200, "headers": {}}
    assert [each.connection_id for each in admission.handshakes] == ["RfGx1dQAIAMCIhA="]
    assert len(admission.outbox) == len(admission.queue) == 0
    (line,) = logged.lines
    assert (line["message"], line["user_id"], line["stage"]) == ("connected", "123", "feed")


@pytest.mark.parametrize("mode", ["frame", "handshake"])
@pytest.mark.parametrize("error", [None, AuthFailed(), Unavailable("x")], ids=["accepted", "refused", "failed"])
def test_an_offered_subprotocol_is_always_answered(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, mode: Mode
) -> None:
    install(monkeypatch, error, mode)
    answer = connect.handler(sample("connect.token-in-subprotocol"), None)
    assert answer["headers"] == {"Sec-WebSocket-Protocol": "bearer"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_client_gets_the_reason_in_a_frame_in_frame_mode(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, refusal: type[ClientError]
) -> None:
    admission = install(monkeypatch, refusal(reason="for the log"))
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 200, "headers": {}}
    ((order, delay, _),) = admission.queue.sent
    assert json.loads(order["frame"])["data"]["code"] == refusal.code
    assert "for the log" not in order["frame"]
    assert (order["connection_id"], order["endpoint"], delay) == ("RfGx1dQAIAMCIhA=", "feed", 0)
    (entry,) = admission.outbox  # answers any frame that the client sends before it is closed
    assert entry.close
    assert entry.message == order["frame"]
    assert "reach" not in entry.as_item()  # so no stream mapping sees it, and no other client waits for this one
    (line,) = logged.lines
    assert (line["level"], line["code"], line["reason"]) == ("WARNING", refusal.code, "for the log")


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_client_gets_the_refusals_status_in_handshake_mode(
    monkeypatch: pytest.MonkeyPatch, refusal: type[ClientError]
) -> None:
    admission = install(monkeypatch, refusal(), "handshake")
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": refusal.status, "headers": {}}
    assert len(admission.outbox) == len(admission.queue) == 0


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_client_gets_the_refusals_status_when_no_frame_can_be_sent(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, refusal: type[ClientError]
) -> None:
    install(monkeypatch, refusal(), unavailable=Unavailable("SQS is away"))
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": refusal.status, "headers": {}}
    assert [line["level"] for line in logged.lines] == ["WARNING", "ERROR"]
    assert logged.lines[1]["reason"] == "SQS is away"


@pytest.mark.parametrize("mode", ["frame", "handshake"])
@pytest.mark.parametrize("error", [Unavailable("DynamoDB is away"), ConfigurationError("no keys")])
def test_a_failure_of_the_service_is_answered_500(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, error: RealtimeError, mode: Mode
) -> None:
    admission = install(monkeypatch, error, mode)
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 500, "headers": {}}
    assert len(admission.outbox) == len(admission.queue) == 0
    (line,) = logged.lines
    assert (line["level"], line["reason"]) == ("ERROR", str(error))


def test_a_missing_setting_is_answered_500_and_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines
) -> None:
    def fail() -> Admission:
        raise ConfigurationError("USERS_TABLE is not set")

    monkeypatch.setattr(bootstrap, "admission", fail)
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 500, "headers": {}}
    assert logged.lines[0]["reason"] == "USERS_TABLE is not set"


def test_an_unforeseen_error_is_answered_500_and_logged_without_its_text(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines
) -> None:
    install(monkeypatch, ZeroDivisionError("a token"))
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 500, "headers": {}}
    (line,) = logged.lines
    assert line["reason"].startswith("ZeroDivisionError at test_connect.py:")
    assert "a token" not in logged.text
