"""Messages that users must acknowledge: checks in time, and an event for the backends about what was not acknowledged.

`ingest` orders the checks, `default` notes acknowledgements, and `deadlines` does the checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from realtime import trace
from realtime.audiences import personal
from realtime.aws.bus import Bus, BusEvent
from realtime.aws.queues import Queue
from realtime.ids import id_as_json
from realtime.tables import Tables
from realtime.tables.users import Users

if TYPE_CHECKING:
    from realtime.contract.to_backends import Undelivered
    from realtime.contract.values import Acknowledgeable


def acknowledgement_check(event_id: str, endpoint: str, user_ids: list[str], reason: str) -> dict[str, Any]:
    """Return the order to check whether users have acknowledged an event; `reason` is for those who have not."""
    return {
        "check": "acknowledged",
        "event_id": event_id,
        "endpoint": endpoint,
        "user_ids": user_ids,
        "reason": reason,
        "trace_id": trace.current(),
    }


def order_checks(
    deadlines: Queue, users: Users, event_id: str, endpoint: str, user_ids: Sequence[str], within_s: int
) -> None:
    """Order the checks of an event: in time for users who are connected, at once for the others."""
    connected = {user.user_id for user in users.get_many(user_ids) if user.connection_ids}
    away = [user_id for user_id in user_ids if user_id not in connected]
    present = [user_id for user_id in user_ids if user_id in connected]
    if away:
        deadlines.send(acknowledgement_check(event_id, endpoint, away, "not_connected"))
    if present:
        check = acknowledgement_check(event_id, endpoint, present, "not_acknowledged")
        deadlines.send(check, delay_seconds=within_s)


def report_undelivered(tables: Tables, bus: Bus, check: Mapping[str, Any], now_ms: int) -> int:
    """Send `message_undelivered` to the backends for each user who has not acknowledged an event; return how many.

    A repeated check may send one again, with the same `id`.
    """
    return sum(_report(tables, bus, user_id, check, now_ms) for user_id in check["user_ids"])


def _report(tables: Tables, bus: Bus, user_id: str, check: Mapping[str, Any], now_ms: int) -> bool:
    event_id = check["event_id"]
    if not tables.acknowledgements.is_awaited(user_id, event_id):
        return False
    entry = tables.outbox.get(personal(check["endpoint"], user_id), event_id)
    if entry is not None:  # otherwise it is older than the history
        detail: Undelivered = {
            "id": event_id,
            "user_id": id_as_json(user_id),
            "type": cast("Acknowledgeable", entry.kind),
            "data": json.loads(entry.message)["data"],
            "reason": check["reason"],
        }
        bus.put_all([BusEvent("message_undelivered", detail, now_ms)])
    tables.acknowledgements.settle(user_id, event_id)
    return entry is not None
