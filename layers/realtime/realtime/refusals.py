"""How a refused client is told: a browser cannot read the status of a refused handshake."""

from __future__ import annotations

from typing import Protocol

from realtime import messages
from realtime.audiences import direct
from realtime.errors import ClientError
from realtime.ids import event_id
from realtime.outbox import Entry, Outbox

_HISTORY_SECONDS = 60  # nobody asks for it again


class Addressee(Protocol):
    """The connection to be told, such as a Connection or a Handshake; `connected_at` in ms since the epoch."""

    @property
    def connection_id(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def connected_at(self) -> int: ...


def refuse(outbox: Outbox, connection: Addressee, problem: ClientError, now: int) -> None:
    """Have a connection told what is wrong and closed, by way of the outbox: it cannot be posted to before it is."""
    close(outbox, connection, "error", messages.error(problem, now), now)


def close(outbox: Outbox, connection: Addressee, kind: str, frame: str, now: int) -> None:
    """Have a connection sent a last frame and closed; `now` in ms since the epoch."""
    outbox.put(
        Entry(
            audience=direct(connection.connection_id),
            event_id=event_id(now, kind, connection.connection_id),
            kind=kind,
            message=frame,
            expires_at=now // 1000 + _HISTORY_SECONDS,
            endpoint=connection.endpoint,
            connected_at=connection.connected_at,
            close=True,
        )
    )
