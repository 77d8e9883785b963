"""Checks that must wait: whether a user is still offline, and whether users have acknowledged a message.

The delay queue brings the order for a check when its time has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime.acknowledgement_checks import report_undelivered
from realtime.aws.bus import Bus
from realtime.tables import Tables


def offline_check(user_id: str, left_at_ms: int, trace_id: str) -> dict[str, Any]:
    """Return the order to check whether a user who left at that time is still away; `trace_id` of how they left."""
    return {"check": "offline", "user_id": user_id, "left_at": left_at_ms, "trace_id": trace_id}


class Deadlines:
    """Do checks."""

    def __init__(self, tables: Tables, bus: Bus) -> None:
        self._tables = tables
        self._bus = bus

    def check(self, order: Mapping[str, Any], now_ms: int) -> int:
        """Do a check; return for how many users it had consequences.

        Raises KeyError or ValueError if the order cannot be read.
        """
        match order["check"]:
            case "offline":
                return self._tables.users.set_offline(order["user_id"], order["left_at"], now_ms)
            case "acknowledged":
                return report_undelivered(self._tables, self._bus, order, now_ms)
            case other:
                raise ValueError(f"no such check: {other}")
