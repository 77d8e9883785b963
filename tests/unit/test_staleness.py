from __future__ import annotations

import json

from realtime.batch import NO_EVENTS, Batch, only
from realtime.ids import make_event_id
from realtime.staleness import Staleness
from realtime.tables.entries import Entry
from tests.unit.fakes import Clock

NOW_MS = 1_705_314_600_000


def state(at_ms: int, audience: str = "presence/*/0", subject: str | None = "7", event_id: str | None = None) -> Entry:
    return Entry(audience, event_id or make_event_id(at_ms, "x"), "presence_update", "{}", 0, subject=subject)


def lateness(clock: Clock, *entries: Entry) -> Staleness:
    return Staleness(Batch(entries), 10, clock)


def test_states_become_too_late_as_time_goes_on() -> None:
    clock = Clock(NOW_MS / 1000)
    presence = lateness(clock, state(NOW_MS - 9_000), state(NOW_MS - 11_000), state(NOW_MS - 8_000))
    assert presence.late == only(1)
    clock.now += 1.5
    assert presence.late == only(0) | only(1)
    clock.now += 60
    assert presence.late == only(0) | only(1) | only(2)


def test_only_states_for_everyone_become_too_late() -> None:
    entries = [
        state(NOW_MS, "presence/7"),  # for those who watch the user
        state(NOW_MS, "notifications/*/0", subject=None),
        state(NOW_MS, event_id="none of ours"),
    ]
    assert lateness(Clock(NOW_MS / 1000 + 3600), *entries).late == NO_EVENTS


def test_a_notice_says_since_when_the_state_may_be_wrong() -> None:
    clock = Clock(NOW_MS / 1000)
    presence = lateness(clock, state(NOW_MS - 9_000), state(NOW_MS - 11_000))
    assert json.loads(presence.notice.body) == {
        "type": "stale",
        "data": {"since": "2024-01-15T10:29:49.000Z"},
        "timestamp": "2024-01-15T10:30:00.000Z",
    }
    assert presence.notice is presence.notice  # it is hashed once
