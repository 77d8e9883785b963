"""The last message of a connection that is to be closed, and how one that everybody knows is told it."""

from __future__ import annotations

from typing import Protocol

from realtime import messages
from realtime.audiences import direct
from realtime.errors import ClientError
from realtime.ids import make_event_id
from realtime.tables.outbox import Entry, Outbox

_HISTORY_SECONDS = 60  # nobody asks for it again


class Addressee(Protocol):
    """The connection to be told, such as a Connection or a Handshake; `connected_at` in ms since the epoch."""

    @property
    def connection_id(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def connected_at(self) -> int: ...


def last_message(connection: Addressee, kind: str, frame: str, now: int) -> Entry:
    """Return the entry of a connection's last frame; `now` in ms since the epoch."""
    return Entry(
        audience=direct(connection.connection_id),
        event_id=make_event_id(now, kind, connection.connection_id),
        kind=kind,
        message=frame,
        expires_at=now // 1000 + _HISTORY_SECONDS,
        endpoint=connection.endpoint,
        connected_at=connection.connected_at,
        close=True,
    )


def refuse(outbox: Outbox, connection: Addressee, problem: ClientError, now: int) -> None:
    """Have a registered connection told what is wrong and closed; `now` in ms since the epoch."""
    close(outbox, connection, "error", messages.encode_error(problem, now), now)


def close(outbox: Outbox, connection: Addressee, kind: str, frame: str, now: int) -> None:
    """Have a registered connection sent a last frame and closed; `now` in ms since the epoch."""
    outbox.put(last_message(connection, kind, frame, now))
