from __future__ import annotations

import json
from dataclasses import replace

import pytest

import connect
from realtime import bootstrap, settings
from realtime.connections import Connection
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
from realtime.handshake import Door, Handshake
from tests.logs import LogLines
from tests.samples import sample
from tests.unit.fakes import FakeOutbox

SETTINGS = settings.ConnectSettings("/keys", "", "", "", "Connections", "Users", "Events", 4, "frame", 20, 900)
REFUSALS: list[type[ClientError]] = [AuthFailed, PermissionDenied, ConnectionLimit, BadRequest, Internal]


class Doorman(Door):
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
        self.outbox = FakeOutbox()
        chosen = replace(SETTINGS, rejection_mode=mode)
        monkeypatch.setattr(bootstrap, "door", lambda: self.doorman)
        monkeypatch.setattr(bootstrap, "outbox", lambda _table: self.outbox)
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
    (entry,) = house.outbox
    assert entry.close
    assert json.loads(entry.message)["data"]["code"] == refusal.code
    assert "for the log" not in entry.message
    (line,) = logged.lines
    assert (line["level"], line["code"], line["reason"]) == ("WARNING", refusal.code, "for the log")


@pytest.mark.parametrize("refusal", REFUSALS)
def test_in_handshake_mode_a_refusal_is_its_status(monkeypatch: pytest.MonkeyPatch, refusal: type[ClientError]) -> None:
    house = House(monkeypatch, refusal(), "handshake")
    assert connect.handler(sample("connect.token-in-query"), None) == {"statusCode": refusal.status, "headers": {}}
    assert len(house.outbox) == 0


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
