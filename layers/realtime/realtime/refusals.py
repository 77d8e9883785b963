"""How a refused client is told: a browser cannot read the status of a refused handshake."""

from __future__ import annotations

from realtime import messages
from realtime.audiences import direct
from realtime.errors import ClientError
from realtime.ids import event_id
from realtime.outbox import Entry, Outbox

_HISTORY_SECONDS = 60  # nobody asks for it again


def refuse(outbox: Outbox, connection_id: str, endpoint: str, problem: ClientError, now_ms: int) -> None:
    """Have a connection told what is wrong and closed, by way of the outbox: it cannot be posted to before it is."""
    close(outbox, connection_id, endpoint, "error", messages.error(problem, now_ms), now_ms)


def close(outbox: Outbox, connection_id: str, endpoint: str, kind: str, frame: str, now_ms: int) -> None:
    """Have a connection sent a last frame and closed."""
    outbox.put(
        Entry(
            audience=direct(connection_id),
            event_id=event_id(now_ms, kind, connection_id),
            kind=kind,
            message=frame,
            expires_at=now_ms // 1000 + _HISTORY_SECONDS,
            endpoint=endpoint,
            close=True,
        )
    )
