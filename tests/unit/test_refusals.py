from __future__ import annotations

import json

from realtime.errors import RateLimited
from realtime.refusals import close, refuse
from realtime.tables.connections import Connection
from tests.unit.fakes import FakeOutbox

NOW = 1_705_314_600_500
CONNECTION = Connection("RfGx1dQAIAMCIhA=", "feed", "123", NOW - 60_000, NOW // 1000 + 3600)


def test_a_refusal_goes_to_one_connection_and_closes_it() -> None:
    outbox = FakeOutbox()
    refuse(outbox, CONNECTION, RateLimited(retry_after=3), NOW)
    (entry,) = outbox
    assert (entry.audience, entry.stage, entry.kind) == ("connection/RfGx1dQAIAMCIhA=", "feed", "error")
    assert entry.close
    assert entry.connected_at_ms == NOW - 60_000
    assert json.loads(entry.message) == {
        "type": "error",
        "data": {"code": "RATE_LIMITED", "message": "Too many requests", "retry_after": 3},
        "timestamp": "2024-01-15T10:30:00.500Z",
    }


def test_a_last_frame_is_kept_for_minutes_only() -> None:
    outbox = FakeOutbox()
    close(outbox, CONNECTION, "reconnect", "the frame", NOW)
    (entry,) = outbox
    assert (entry.message, entry.kind) == ("the frame", "reconnect")
    assert NOW // 1000 < entry.expires_at_s <= NOW // 1000 + 300
