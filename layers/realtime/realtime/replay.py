"""Replay: send a client what it missed while it was away; the outbox has it, and the frames are as `broadcast`'s."""

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

MAX_REPLAYED = 250  # messages; they are posted one after the other, and the client waits for the last
# An id is made before its item is written, and items are not always written in the order of their ids: a write that
# meets others is tried again for seconds, and a change of presence reaches the outbox by a stream and a second write.
OVERLAP_MS = int(2 * LONGEST_CALL_SECONDS * 1000)
# Each audience gets its messages in order, but one audience may be behind another: usually by a batch, by minutes if
# more events for everyone are recorded than the quota lets us post.
OVERLAP_OF_SEVERAL_MS = 300_000


class Replay:
    """Replay to connections what they missed."""

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

    def since(self, connection: Connection, audiences: Sequence[str], last_id: object, now_ms: int) -> list[str]:
        """Return the frames that a connection's audiences got after the message `last_id`, and then a `resumed` frame.

        The outbox is read after `broadcast` can see the connection, so it posts every later event. Raises BadRequest if
        `last_id` is not the id of a message.
        """
        try:
            last_ms = event_time_ms(last_id)
        except ValueError as error:
            raise BadRequest(f"last_id: {error}") from error
        self._connections.wait_until_indexed(audiences, connection.connection_id)
        overlap_ms = OVERLAP_MS if len(audiences) == 1 else OVERLAP_OF_SEVERAL_MS
        missed, is_complete = self._missed(audiences, str(last_id), make_event_id(max(0, last_ms - overlap_ms)), now_ms)
        batch = Batch(missed)
        due = batch.due(_as_subscriber(connection), batch.every)
        frames = batch.frames(due, packed=connection.batch)
        recovered = is_complete and last_ms >= now_ms - self._history_seconds[connection.endpoint] * 1000
        resumed = {"recovered": recovered, "replayed": due.bit_count()}
        return [*(frame.body.decode() for frame in frames), messages.encode("resumed", resumed, now_ms)]

    def _missed(self, audiences: Sequence[str], last_id: str, after: str, now_ms: int) -> tuple[list[Entry], bool]:
        """Return the newest entries after an id, oldest first, and whether they are complete."""
        newest = [self._outbox.newest(audience, after, MAX_REPLAYED + 1) for audience in audiences]
        now_s = now_ms // 1000
        entries = {
            entry.event_id: entry
            for entry in chain.from_iterable(newest)
            if entry.event_id != last_id
            and entry.expires_at_s > now_s
            and (entry.not_after_s is None or entry.not_after_s >= now_s)
        }
        in_order = [entries[each] for each in sorted(entries)]
        return in_order[-MAX_REPLAYED:], len(in_order) <= MAX_REPLAYED


def _as_subscriber(connection: Connection) -> Subscriber:
    return Subscriber(
        connection.connection_id, connection.user_id, connection.connected_at_ms, connection.types, connection.batch
    )
