"""Records of a stream that no try will mend: each goes to a dead-letter queue at once, and holds up no other.

Lambda would try its batch again for an hour, and nothing behind it in its shard would be told meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from realtime.errors import ConfigurationError, RealtimeError, Unavailable, Unforeseen
from realtime.log import logger
from realtime.queues import Queue


def is_own_fault(problem: Exception) -> bool:
    """Return whether an error is of what was worked on: what AWS did not do, or a missing right, is of everything."""
    return not isinstance(problem, Unavailable | ConfigurationError)


def named(problem: Exception) -> RealtimeError:
    """Return an error as one of ours, whose words may be logged."""
    return problem if isinstance(problem, RealtimeError) else Unforeseen(problem)


def give_up(
    queue: Callable[[], Queue], records: Sequence[Mapping[str, Any]], problems: Mapping[int, Exception], *, before: int
) -> None:
    """Send the records at these places, as far as they stand before a place, to the dead-letter queue with the reason.

    Those that come after are met again. Raises what sending raises: then the whole batch is to be tried again.
    """
    for place in sorted(problems):
        if place < before:
            shown = records[place].get("dynamodb") or {}
            reason = str(named(problems[place]))
            where = {"keys": shown.get("Keys"), "sequence_number": shown.get("SequenceNumber")}
            queue().send(where, attributes={"reason": reason})
            logger().error("giving up a record", extra={"reason": reason})
