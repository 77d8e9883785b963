from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from realtime.aws.bus import SOURCE, Bus, BusEvent
from realtime.aws.retries import ATTEMPTS
from realtime.errors import ConfigurationError, Rejected, Unavailable
from tests.unit.fakes import Sleeps, as_client, aws_error

AT = 1_705_314_600_123


class EventBridge:
    """PutEvents: answers 200 and refuses some entries by their detail-type, a number of times."""

    def __init__(self, **refusals: int) -> None:
        self._refusals = refusals
        self.taken: list[dict[str, Any]] = []
        self.calls: list[int] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  # AWS's name
        assert 0 < len(Entries) <= 10, "AWS accepts 1 to 10 entries"
        self.calls.append(len(Entries))
        results: list[dict[str, str]] = []
        for entry in Entries:
            if self._refusals.get(entry["DetailType"], 0) > 0:
                self._refusals[entry["DetailType"]] -= 1
                results.append({"ErrorCode": "InternalFailure", "ErrorMessage": "try again"})
            else:
                self.taken.append(entry)
                results.append({"EventId": str(len(self.taken))})
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}

    def __len__(self) -> int:
        return len(self.taken)

    def __contains__(self, detail_type: str) -> bool:
        return any(entry["DetailType"] == detail_type for entry in self.taken)


def events(count: int) -> list[BusEvent]:
    return [BusEvent(f"type_{n}", {"n": n}, AT) for n in range(count)]


def test_an_event_is_put_with_our_source_and_its_own_time() -> None:
    client = EventBridge()
    Bus(as_client(client), "realtime").put_all([BusEvent("user_online", {"user_id": 123, "username": "Жанна"}, AT)])
    (entry,) = client.taken
    assert json.loads(entry.pop("Detail")) == {"user_id": 123, "username": "Жанна"}
    assert entry == {
        "EventBusName": "realtime",
        "Source": SOURCE,
        "DetailType": "user_online",
        "Time": datetime(2024, 1, 15, 10, 30, 0, 123_000, tzinfo=UTC),
    }


def test_events_go_ten_at_a_time() -> None:
    client = EventBridge()
    Bus(as_client(client), "realtime").put_all(events(23))
    assert client.calls == [10, 10, 3]
    assert len(client) == 23


def test_an_empty_list_of_events_makes_no_call() -> None:
    client = EventBridge()
    Bus(as_client(client), "realtime").put_all([])
    assert not client.calls


def test_refused_events_alone_are_put_again(sleeps: Sleeps) -> None:
    client = EventBridge(type_1=2, type_3=1)
    Bus(as_client(client), "realtime").put_all(events(5))
    assert client.calls == [5, 2, 1]
    assert [entry["DetailType"] for entry in client.taken] == ["type_0", "type_2", "type_4", "type_3", "type_1"]
    assert len(sleeps) == 2


def test_an_event_that_stays_refused_is_reported_and_the_others_are_put(sleeps: Sleeps) -> None:
    client = EventBridge(type_1=100)
    with pytest.raises(Unavailable, match="putting events on the bus: 1 stayed refused"):
        Bus(as_client(client), "realtime").put_all(events(3))
    assert "type_0" in client
    assert "type_2" in client
    assert len(sleeps) < ATTEMPTS


def test_an_event_that_the_bus_never_takes_is_rejected() -> None:
    class Refusing:
        def put_events(self, **_: Any) -> dict[str, Any]:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "MalformedDetail"}]}

    with pytest.raises(Rejected, match="putting events on the bus: MalformedDetail"):
        Bus(as_client(Refusing()), "realtime").put_all(events(1))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AccessDeniedException", ConfigurationError),
        ("ResourceNotFoundException", ConfigurationError),
        ("InternalException", Unavailable),
    ],
)
def test_an_error_of_aws_names_the_operation(code: str, error: type[Exception]) -> None:
    class Broken:
        def put_events(self, **_: Any) -> None:
            raise aws_error(code)

    with pytest.raises(error, match=f"putting events on the bus: {code}"):
        Bus(as_client(Broken()), "realtime").put_all(events(1))
