"""Records of a stream that no try will mend: each goes to a dead-letter queue at once, and holds up no other.

Lambda would try its batch again for an hour, and nothing behind it in its shard would be told meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from realtime.aws.queues import Queue
from realtime.errors import ConfigurationError, Unavailable, reason_of
from realtime.log import logger

OF_EVERYTHING = (Unavailable, ConfigurationError)  # what AWS did not do, or a missing right; all else is a record's own


def give_up(
    queue: Callable[[], Queue], records: Sequence[Mapping[str, Any]], problems: Mapping[int, Exception], *, before: int
) -> None:
    """Send the records at these places, as far as they stand before a place, to the dead-letter queue with the reason.

    Those that come after are met again. Raises what sending raises: then the whole batch is to be tried again.
    """
    for place in sorted(problems):
        if place < before:
            shown = records[place].get("dynamodb") or {}
            reason = reason_of(problems[place])
            where = {"keys": shown.get("Keys"), "sequence_number": shown.get("SequenceNumber")}
            queue().send(where, attributes={"reason": reason})
            logger().error("giving up a record", extra={"reason": reason})
