"""Users stream: announce changes of users to clients and backends."""

from __future__ import annotations

from typing import Any

from realtime import bootstrap, dead_letters, log, snapstart
from realtime.invocation import answer_stream, invoked
from realtime.log import logger

snapstart.prepare(bootstrap.announcer, logger)


@invoked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Announce a batch of changes; the stream goes on from the first record that is not done.

    Raises the problem if not even the first record is done. A repeated batch has the same effect.
    """
    records = event["Records"]
    report = bootstrap.announcer().announce(records)
    dead_letters.give_up(bootstrap.failures, records, report.given_up, before=report.done)
    log.log_batch("announced", report.trace_ids, changes=report.done, messages=report.messages)
    return answer_stream(records, report.done, report.problem)
