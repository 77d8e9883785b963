"""A user's own status, which their client sets: busy, away or online. Others hear of it as of a backend's event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from realtime import messages, positions
from realtime.errors import BadRequest, RateLimited
from realtime.rate_limit import Rate
from realtime.tables import Tables
from realtime.tables.connections import Connection
from realtime.text import describe_value

if TYPE_CHECKING:
    from realtime.contract.to_clients import StatusSetData

STATUSES = ("online", "busy", "away")
RIGHT = "status"  # the word in a token's scope
# Each change is posted to everybody who sees the user, so it is dearer than any other frame.
_CHANGES = Rate(per_second=0.2, burst=5)


class Statuses:
    """Set statuses."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def answer(self, data: Mapping[str, Any], connection: Connection, now_ms: int) -> list[str]:
        """Set a status, and answer the frame; a status that the user has already is announced to nobody.

        Raises BadRequest, also if the token does not allow it (clients take PERMISSION_DENIED for the end of their
        connection), and RateLimited.
        """
        status = parse_status(data.get("status"))
        if not connection.may_set_status:
            raise BadRequest(f'status: this token may not set it; its scope needs the word "{RIGHT}"')
        bucket = self._tables.rates.take_of_status(connection.user_id, _CHANGES.cost_ms(1), _CHANGES.room_ms, now_ms)
        if not bucket.is_granted:
            wait_s = _CHANGES.wait_s(bucket.full_at_ms, now_ms)
            raise RateLimited("status: changed too often; wait before you set it again", retry_after=wait_s)
        self._tables.users.set_status(connection.user_id, status, now_ms)
        answer: StatusSetData = {"status": status}
        position = positions.floor(connection.connected_at_ms, now_ms)
        return [messages.encode("status_set", answer, now_ms, position=position)]


def parse_status(value: object) -> Any:
    """Return a status.

    Raises BadRequest, whose message says which there are.
    """
    if not isinstance(value, str) or value not in STATUSES:
        raise BadRequest(f"status: must be one of {', '.join(STATUSES)}; not {describe_value(value)}")
    return value
