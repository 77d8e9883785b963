"""What must be looked at again later: whether who left has stayed away, and whether who was told has acknowledged it.

The delay queue brings an order, such as the two functions here make, when its time has come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from realtime.audiences import personal
from realtime.aws.bus import Announcement, Bus
from realtime.ids import id_as_json
from realtime.tables.outbox import Outbox
from realtime.tables.users import Users


def stayed_away(user_id: str, left_at: int) -> dict[str, Any]:
    """Return the order to look whether a user who left at that time (ms) is still away."""
    return {"check": "offline", "user_id": user_id, "left_at": left_at}


def acknowledged(event_id: str, endpoint: str, user_ids: list[str], reason: str) -> dict[str, Any]:
    """Return the order to look whether users have acknowledged an event; `reason` is told where they have not."""
    return {
        "check": "acknowledged",
        "event_id": event_id,
        "endpoint": endpoint,
        "user_ids": user_ids,
        "reason": reason,
    }


class Deadlines:
    """Looks again."""

    def __init__(self, users: Users, outbox: Outbox, bus: Bus) -> None:
        self._users = users
        self._outbox = outbox
        self._bus = bus

    def check(self, order: Mapping[str, Any], now: int) -> int:
        """Look at what was ordered, and return for how many users something followed; `now` in ms.

        Raises KeyError or ValueError where the order cannot be read.
        """
        match order["check"]:
            case "offline":
                return self._users.set_offline(order["user_id"], order["left_at"], now)
            case "acknowledged":
                reason = order["reason"]
                return sum(
                    self._undelivered(order["endpoint"], user_id, order["event_id"], reason, now)
                    for user_id in order["user_ids"]
                )
            case other:
                raise ValueError(f"no such check: {other}")

    def _undelivered(self, endpoint: str, user_id: str, event_id: str, reason: str, now: int) -> bool:
        """Tell the bus of a message that a user has not acknowledged; twice at worst, with the same `id`."""
        if not self._outbox.is_awaited(user_id, event_id):
            return False
        entry = self._outbox.get(personal(endpoint, user_id), event_id)
        if entry is not None:
            message = json.loads(entry.message)
            detail = {
                "id": event_id,
                "user_id": id_as_json(user_id),
                "type": entry.kind,
                "data": message["data"],
                "reason": reason,
            }
            self._bus.put_all([Announcement("message_undelivered", detail, now)])
        self._outbox.settle(user_id, event_id)
        return entry is not None
