"""Farewells: tell a connection that may not stay the reason, and close it.

Farewells have their own queue and function, so that no event waits for them. They have to wait: a post to a connection
that has left and a post to one whose handshake is not complete yet both get a 410.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from realtime import messages, trace
from realtime.aws.queues import Queue
from realtime.errors import ClientError, ConfigurationError
from realtime.orders import read_order
from realtime.posting.delivery import Delivery, Frame, Outcome
from realtime.posting.poster import Poster
from realtime.refusals import Addressee, last_message
from realtime.tables.outbox import Outbox

# How long to wait before another try. A handshake is usually complete milliseconds after `$connect` has answered.
RETRY_DELAYS_S = (1, 5)
_UNSERVED = frozenset({Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED, Outcome.NOT_YET_OPEN})


@dataclass(frozen=True, slots=True)
class Farewell:
    """A connection's last frame; `tries` counts the attempts so far."""

    connection_id: str
    endpoint: str
    frame: str
    is_opening: bool  # its handshake may not be complete, so a 410 does not mean that it is gone
    tries: int = 0
    trace_ids: Sequence[str] = ()  # of the handshake or the frame that is answered so

    def message(self) -> tuple[dict[str, object], dict[str, str]]:
        """Return the body and the attributes of its message in the queue."""
        body = asdict(self)
        return body, trace.as_attributes(body.pop("trace_ids"))


def read_farewell(body: str, trace_ids: Sequence[str] = ()) -> Farewell:
    """Read a message of the queue.

    Raises ValueError if it is not a farewell.
    """
    return replace(read_order(body, Farewell), trace_ids=trace_ids)


class Farewells:
    """Order farewells: record each for `default`, and queue it for `farewell`."""

    def __init__(self, outbox: Outbox, queue: Queue) -> None:
        self._outbox = outbox
        self._queue = queue

    def refuse(self, connection: Addressee, problem: ClientError, now_ms: int) -> None:
        """Refuse a connection whose handshake is not complete yet, with an `error` frame."""
        self._send(connection, "error", messages.encode_error(problem, now_ms), now_ms, is_opening=True)

    def send_away(self, connection: Addressee, kind: str, frame: str, now_ms: int) -> None:
        """Send an open connection a last frame, and close it."""
        self._send(connection, kind, frame, now_ms, is_opening=False)

    def _send(self, connection: Addressee, kind: str, frame: str, now_ms: int, *, is_opening: bool) -> None:
        # It is recorded too, so that `default` answers with it whatever the client sends in the meantime.
        self._outbox.put(replace(last_message(connection, kind, frame, now_ms), is_streamed=False))
        farewell = Farewell(connection.connection_id, connection.stage, frame, is_opening, trace_ids=(trace.current(),))
        body, attributes = farewell.message()
        self._queue.send(body, attributes=attributes)


class FarewellSender:
    """Send farewells."""

    def __init__(self, poster: Poster, queue: Queue) -> None:
        self._poster = poster
        self._queue = queue

    def send(self, farewells: Sequence[Farewell], until: float) -> dict[str, int]:
        """Post farewells and close their connections; return how many had each outcome.

        `until` is on the monotonic clock. No farewell waits for its connection here: one that cannot be served now goes
        back to the queue for a few seconds, and is given up after its last try. Raises ConfigurationError if this
        function's role may not post.
        """
        counts: dict[str, int] = {}
        for farewell, outcome in self._deliver(farewells, until):
            counts[outcome.value] = counts.get(outcome.value, 0) + 1
            is_missing = outcome is Outcome.GONE and farewell.is_opening
            if (is_missing or outcome in _UNSERVED) and farewell.tries < len(RETRY_DELAYS_S):
                body, attributes = replace(farewell, tries=farewell.tries + 1).message()
                self._queue.send(body, delay_seconds=RETRY_DELAYS_S[farewell.tries], attributes=attributes)
        if Outcome.FORBIDDEN.value in counts:
            raise ConfigurationError(f"the role of farewell may not post: {self._poster.refusal}")
        return counts

    def _deliver(self, farewells: Sequence[Farewell], until: float) -> Iterator[tuple[Farewell, Outcome]]:
        deliveries: dict[Delivery, Farewell] = {}
        for each in farewells:
            # `connected_at=0` makes the Poster report a 410 at once; the waiting is done in the queue.
            frames = (Frame(each.frame.encode()),)
            deliveries[Delivery(each.endpoint, each.connection_id, frames, connected_at_s=0, close=True)] = each
        for result in self._poster.deliver(deliveries, until=until):
            yield deliveries[result.delivery], result.outcome
