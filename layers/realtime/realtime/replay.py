"""Replay: what a client missed while it was away, out of the outbox, as it would have heard it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from realtime import messages
from realtime.aws.retries import LONGEST_CALL_SECONDS
from realtime.batch import Batch
from realtime.errors import BadRequest
from realtime.ids import event_time_ms, make_event_id
from realtime.tables.connections import Connection, Connections, Subscriber
from realtime.tables.outbox import Entry, Outbox

MAX_REPLAYED = 250  # messages: each is posted when the one before it was taken, and the client waits for the last
# An id is made before its item is written, and items are not written in the order of their ids: a write that met others
# is tried again for seconds, and a change of presence reaches the outbox by a stream and a second write.
OVERLAP_MS = int(2 * LONGEST_CALL_SECONDS * 1000)
# Each audience is told in order, but one may be behind another: by a batch as a rule, by minutes where more is told to
# everyone than may be posted.
OVERLAP_OF_SEVERAL_MS = 300_000


class Replay:
    """Tells connections what they missed."""

    def __init__(
        self, connections: Connections, outbox: Outbox, *, history_seconds: int, presence_history_seconds: int
    ) -> None:
        self._connections = connections
        self._outbox = outbox
        self._history_seconds = {
            "feed": presence_history_seconds,
            "presence": presence_history_seconds,
            "calls": history_seconds,
            "notifications": history_seconds,
        }

    def since(self, connection: Connection, audiences: Sequence[str], last_id: object, now: int) -> list[str]:
        """Return the frames of what these audiences of a connection were told after an id, and `resumed`; `now` in ms.

        What is recorded from here on is posted, for the connection is visible. Raises BadRequest if it is no id.
        """
        try:
            last = event_time_ms(last_id)
        except ValueError as error:
            raise BadRequest(f"last_id: {error}") from error
        self._connections.await_heard(audiences, connection.connection_id)
        overlap = OVERLAP_MS if len(audiences) == 1 else OVERLAP_OF_SEVERAL_MS
        missed, is_whole = self._missed(audiences, str(last_id), make_event_id(max(0, last - overlap)), now)
        batch = Batch(missed)
        due = batch.due(_as_subscriber(connection), batch.every)
        frames = batch.frames(due, packed=connection.batch)
        recovered = is_whole and last >= now - self._history_seconds[connection.endpoint] * 1000
        resumed = {"recovered": recovered, "replayed": due.bit_count()}
        return [*(frame.body.decode() for frame in frames), messages.encode("resumed", resumed, now)]

    def _missed(self, audiences: Sequence[str], last_id: str, after: str, now: int) -> tuple[list[Entry], bool]:
        """Return the newest entries after an id, oldest first, and whether these are all."""
        newest = [self._outbox.newest(audience, after, MAX_REPLAYED + 1) for audience in audiences]
        seconds = now // 1000
        entries = {
            entry.event_id: entry
            for entry in chain.from_iterable(newest)
            if entry.event_id != last_id
            and entry.expires_at > seconds
            and (entry.not_after is None or entry.not_after >= seconds)
        }
        in_order = [entries[each] for each in sorted(entries)]
        return in_order[-MAX_REPLAYED:], len(in_order) <= MAX_REPLAYED


def _as_subscriber(connection: Connection) -> Subscriber:
    return Subscriber(
        connection.connection_id, connection.user_id, connection.connected_at, connection.types, connection.batch
    )
