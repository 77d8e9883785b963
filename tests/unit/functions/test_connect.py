from __future__ import annotations

import json
from dataclasses import replace

import pytest

import connect
from realtime import bootstrap, settings
from realtime.connect import Admission, Handshake
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
from realtime.tables.connections import Connection
from tests.logs import LogLines
from tests.samples import sample
from tests.unit.fakes import FakeOutbox, FakeQueue

SETTINGS = settings.ConnectSettings(
    "/keys", "", "", "", "Connections", "Users", "Events", 4, "frame", "https://queue", 20, 900
)
REFUSALS: list[type[ClientError]] = [AuthFailed, PermissionDenied, ConnectionLimit, BadRequest, Internal]


class Doorman(Admission):
    """Lets everyone in, or nobody."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.seen: list[Handshake] = []

    def admit(self, handshake: Handshake, *_: object) -> Connection:
        self.seen.append(handshake)
        if self._error:
            raise self._error
        return Connection(handshake.connection_id, handshake.endpoint, "123", handshake.connected_at, 0)


class House:
    """A door, and the outbox that those who are refused hear from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, mode: str = "frame") -> None:
        self.doorman = Doorman(error)
        self.outbox, self.queue = FakeOutbox(), FakeQueue()
        chosen = replace(SETTINGS, rejection_mode=mode)
        monkeypatch.setattr(bootstrap, "admission", lambda: self.doorman)
        monkeypatch.setattr(bootstrap, "connect_farewells", lambda: Farewells(self.outbox, self.queue))
        monkeypatch.setattr(bootstrap, "connect_settings", lambda: chosen)


def test_who_is_let_in_is_answered_200(monkeypatch: pytest.MonkeyPatch, logged: LogLines) -> None:
    house = House(monkeypatch)
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 200, "headers": {}}
    assert [each.connection_id for each in house.doorman.seen] == ["RfGx1dQAIAMCIhA="]
    assert len(house.outbox) == 0
    (line,) = logged.lines
    assert (line["message"], line["user_id"], line["endpoint"]) == ("connected", "123", "feed")


@pytest.mark.parametrize("mode", ["frame", "handshake"])
@pytest.mark.parametrize("error", [None, AuthFailed(), Unavailable("x")], ids=["let in", "refused", "failed"])
def test_an_offered_subprotocol_is_always_answered(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, mode: str
) -> None:
    House(monkeypatch, error, mode)
    answer = connect.handler(sample("connect.token-in-subprotocol"), None)
    assert answer["headers"] == {"Sec-WebSocket-Protocol": "bearer"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_in_frame_mode_a_refusal_is_a_frame(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, refusal: type[ClientError]
) -> None:
    house = House(monkeypatch, refusal(reason="for the log"))
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 200, "headers": {}}
    ((order, delay, _),) = house.queue.sent
    assert json.loads(order["frame"])["data"]["code"] == refusal.code
    assert "for the log" not in order["frame"]
    assert (order["connection_id"], order["endpoint"], delay) == ("RfGx1dQAIAMCIhA=", "feed", 0)
    (entry,) = house.outbox  # for whatever the client sends meanwhile
    assert entry.close
    assert entry.message == order["frame"]
    assert "reach" not in entry.as_item()  # no stream mapping is shown it: nobody waits for a stranger
    (line,) = logged.lines
    assert (line["level"], line["code"], line["reason"]) == ("WARNING", refusal.code, "for the log")


@pytest.mark.parametrize("refusal", REFUSALS)
def test_in_handshake_mode_a_refusal_is_its_status(monkeypatch: pytest.MonkeyPatch, refusal: type[ClientError]) -> None:
    house = House(monkeypatch, refusal(), "handshake")
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": refusal.status, "headers": {}}
    assert len(house.outbox) == len(house.queue) == 0


@pytest.mark.parametrize("refusal", REFUSALS)
def test_who_cannot_be_told_by_a_frame_is_told_by_the_status(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, refusal: type[ClientError]
) -> None:
    House(monkeypatch, refusal())

    def away() -> Farewells:
        raise Unavailable("SQS is away")

    monkeypatch.setattr(bootstrap, "connect_farewells", away)
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": refusal.status, "headers": {}}
    assert [line["level"] for line in logged.lines] == ["WARNING", "ERROR"]
    assert logged.lines[1]["reason"] == "SQS is away"


@pytest.mark.parametrize("mode", ["frame", "handshake"])
@pytest.mark.parametrize("error", [Unavailable("DynamoDB is away"), ConfigurationError("no keys")])
def test_what_is_our_fault_is_answered_500(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines, error: RealtimeError, mode: str
) -> None:
    house = House(monkeypatch, error, mode)
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 500, "headers": {}}
    assert len(house.outbox) == 0
    (line,) = logged.lines
    assert (line["level"], line["reason"]) == ("ERROR", str(error))


def test_what_nobody_thought_of_is_answered_500_and_logged_without_its_text(
    monkeypatch: pytest.MonkeyPatch, logged: LogLines
) -> None:
    House(monkeypatch, ZeroDivisionError("a token"))
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": 500, "headers": {}}
    (line,) = logged.lines
    assert line["reason"].startswith("ZeroDivisionError at test_connect.py:")
    assert "a token" not in logged.text
