"""The key space of the Events table: which kinds of items it holds, and under which keys.

The table's partition key is called `audience`, its sort key `event_id`.

    audience                       event_id    item                     written by         read by            kept
    {endpoint}/… (audiences.py)    event's id  an entry                 ingest, announce   default (resume)   history
    connection/{connection id}     event's id  one connection's entry   ingest, sweep      default            history
    the same, not streamed         event's id  a last frame             connect, default   default            60 s
    ingested/{bus event's id}      -           it was recorded          ingest             ingest             26 h
    awaited/{user id}              event's id  no acknowledgement yet   ingest             deadlines          history
    call/{call id}                 -           a call (calls.py)        ingest, sweep      sweep (by index)   14 d, 26 h
    sweep                          -           where its scan stopped   sweep              sweep              1 h

The stream shows `broadcast` the items that have a `reach`: all entries except the last frames that `farewell` posts.
"""

from __future__ import annotations

from typing import Any, Final

from realtime.tables.dynamodb import item

Key = dict[str, dict[str, Any]]

# EventBridge delivers an event again, or late, for up to 24 h: the marks of ingested events and ended calls outlast it.
INGESTED_TTL_SECONDS: Final = 26 * 3600
ENDED_CALL_TTL_SECONDS: Final = 26 * 3600
OPEN_CALL_TTL_SECONDS: Final = 14 * 86_400  # a back-stop: `sweep` ends a call long before
CURSORS_TTL_SECONDS: Final = 3600

_CALL = "call/"


def entry_key(audience: str, event_id: str) -> Key:
    """Return the key of an entry."""
    return item({"audience": audience, "event_id": event_id})


def ingested_key(source_id: str) -> Key:
    """Return the key of the mark that an event of the bus was recorded; `source_id` is the event's own id."""
    return _single(f"ingested/{source_id}")


def awaited_key(user_id: str, event_id: str) -> Key:
    """Return the key of the mark that a user has not acknowledged an event yet."""
    return item({"audience": f"awaited/{user_id}", "event_id": event_id})


def call_key(call_id: str) -> Key:
    """Return the key of a call."""
    return _single(f"{_CALL}{call_id}")


def call_id_of(audience: str) -> str:
    """Return the id of the call whose partition this is."""
    return audience.removeprefix(_CALL)


def cursors_key() -> Key:
    """Return the key of the item in which `sweep` keeps where its scan had to stop."""
    return _single("sweep")


def _single(partition: str) -> Key:
    return item({"audience": partition, "event_id": "-"})
