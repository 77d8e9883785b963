"""Farewells: a connection that may not stay is told why, and closed.

They have a queue and a function of their own, so that nobody else waits for strangers: one that leaves at once cannot
be told from one whose handshake is not done yet, for a post to either is a 410.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from realtime import messages
from realtime.aws.queues import Queue
from realtime.errors import ClientError, ConfigurationError
from realtime.posting.poster import Delivery, Frame, ManagementApi, Outcome
from realtime.refusals import Addressee, last_message
from realtime.tables.outbox import Outbox

# s before another try: a handshake is done milliseconds after `$connect` has answered, as a rule.
RETRY_DELAYS_S = (1, 5)
_UNSERVED = frozenset({Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED, Outcome.NOT_YET_OPEN})


@dataclass(frozen=True, slots=True)
class Farewell:
    """A connection's last frame; `tries` have been made before."""

    connection_id: str
    endpoint: str
    frame: str
    is_opening: bool  # its handshake may not be done: a 410 does not mean that it is gone
    tries: int = 0


def read_farewell(body: str) -> Farewell:
    """Read a message of the queue.

    Raises ValueError where it is none of ours.
    """
    try:
        return Farewell(**json.loads(body))
    except TypeError as error:
        raise ValueError(str(error)) from error


class Farewells:
    """Has connections told that they may not stay."""

    def __init__(self, outbox: Outbox, queue: Queue) -> None:
        self._outbox = outbox
        self._queue = queue

    def refuse(self, connection: Addressee, problem: ClientError, now: int) -> None:
        """Have a connection that is being made told what is wrong, and closed; `now` in ms."""
        self._send(connection, "error", messages.encode_error(problem, now), now, is_opening=True)

    def send_away(self, connection: Addressee, kind: str, frame: str, now: int) -> None:
        """Have an open connection told its last frame, and closed; `now` in ms."""
        self._send(connection, kind, frame, now, is_opening=False)

    def _send(self, connection: Addressee, kind: str, frame: str, now: int, *, is_opening: bool) -> None:
        # Recorded as well, for `default`: whatever else the client sends meanwhile is answered by the same.
        self._outbox.put(replace(last_message(connection, kind, frame, now), is_streamed=False))
        self._queue.send(asdict(Farewell(connection.connection_id, connection.endpoint, frame, is_opening)))


class FarewellSender:
    """Says farewells."""

    def __init__(self, management: ManagementApi, queue: Queue) -> None:
        self._management = management
        self._queue = queue

    def send(self, farewells: Sequence[Farewell], until: float) -> dict[str, int]:
        """Post farewells and close their connections; return how many came to what; `until` on the monotonic clock.

        Never waits for a connection: one that cannot be served now goes back to the queue for a few seconds, and is
        given up after the last of them. Raises ConfigurationError where we may not post.
        """
        counts: dict[str, int] = {}
        for farewell, outcome in self._deliver(farewells, until):
            counts[outcome.value] = counts.get(outcome.value, 0) + 1
            is_missing = outcome is Outcome.GONE and farewell.is_opening
            if (is_missing or outcome in _UNSERVED) and farewell.tries < len(RETRY_DELAYS_S):
                again = replace(farewell, tries=farewell.tries + 1)
                self._queue.send(asdict(again), delay_seconds=RETRY_DELAYS_S[farewell.tries])
        if Outcome.FORBIDDEN.value in counts:
            raise ConfigurationError(f"the role of farewell may not post: {self._management.refusal}")
        return counts

    def _deliver(self, farewells: Sequence[Farewell], until: float) -> Iterator[tuple[Farewell, Outcome]]:
        deliveries: dict[Delivery, Farewell] = {}
        for each in farewells:
            # Said to be old, so that the engine believes a 410 at once: here it is the queue that waits.
            frames = (Frame(each.frame.encode()),)
            deliveries[Delivery(each.endpoint, each.connection_id, frames, connected_at=0, close=True)] = each
        for delivery, outcome in self._management.deliver(deliveries, until=until):
            yield deliveries[delivery], outcome
