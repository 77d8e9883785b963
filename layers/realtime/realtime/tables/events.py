"""The key space of the Events table: which kinds of items it holds, and under which keys.

The table's partition key is called `audience`, its sort key `event_id`.

    audience                       event_id    item                     written by         read by            kept
    {endpoint}/… (audiences.py)    event's id  an entry                 ingest, announce   default (resume)   history
    presence/*/{shard}             an id       a late mark (entries.py) announce           default            history
    connection/{connection id}     event's id  one connection's entry   ingest, sweep,     default            60 s to
                                                                        admin, connect                        history
    the same, not streamed         event's id  a last frame             connect, default   default            60 s
    ingested/{event's own id}      -           it was recorded          ingest             ingest             26 h
    the same                       a number    so was this part of it   ingest             ingest             26 h
    first/{id of a key}            -           a revocation's time      ingest             ingest             26 h
    awaited/{user id}              event's id  no acknowledgement yet   ingest             deadlines          history
    call/{call id}                 -           a call (calls.py)        ingest, sweep      sweep (by index)   14 d, 26 h
    sweep                          -           where it stopped         sweep              sweep              1 h
    view/{name}                    -           what was made last       default            default            1 d
    view/{making's id}/{part}      -           rows of a view           default            default            10 min
    stragglers                     -           who is behind            broadcast, late    broadcast, late    3 h
    served                         audience    when it was served       broadcast          sweep              1 h
    budget/{slot, ms}              -           claimed posts            all that post      all that post      1 h
    occupancy                      -           how many are online      default            default            1 h
    rate/user/{user id}            -           a bucket (rates.py)      default            default            1 h
    rate/status/{user id}          -           of changes of status     default            default            1 h
    rate/ip/{address}              -           likewise                 connect            connect            1 h
    posted/{audience}              -           its position (posted.py) broadcast          broadcast          60 s

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
STRAGGLERS_TTL_SECONDS: Final = 3 * 3600  # since the last one was added; API Gateway ends a connection after 2 h
SERVED_TTL_SECONDS: Final = 3600
CLAIMS_TTL_SECONDS: Final = 3600
TALLY_TTL_SECONDS: Final = 3600
RATE_TTL_SECONDS: Final = 3600  # by then any bucket is full again
POSTED_TTL_SECONDS: Final = 60  # positions tell of some seconds

_POSTED = "posted/"

SERVED: Final = "served"
_CALL = "call/"


def entry_key(audience: str, event_id: str) -> Key:
    """Return the key of an entry."""
    return item({"audience": audience, "event_id": event_id})


def ingested_key(source_id: str, part: str = "-") -> Key:
    """Return the key of the mark that an event of the bus was recorded, or a part of it that has to be earlier.

    `source_id` is the event's own id, or that of its idempotency key.
    """
    return item({"audience": f"ingested/{source_id}", "event_id": part})


def first_key(source_id: str) -> Key:
    """Return the key of the time of the first of the revocations with one idempotency key."""
    return _single(f"first/{source_id}")


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


def view_head_key(name: str) -> Key:
    """Return the key of the item that says what was made last of a view."""
    return _single(f"view/{name}")


def view_part_key(view_id: str, number: int) -> Key:
    """Return the key of a part of a view's rows: each has a partition of its own, for it may be read often."""
    return _single(f"view/{view_id}/{number}")


def stragglers_key() -> Key:
    """Return the key of the item that holds the connections that are behind."""
    return _single("stragglers")


def served_key(audience: str) -> Key:
    """Return the key of the mark that says when a wide audience was served."""
    return item({"audience": SERVED, "event_id": audience})


def budget_key(slot_ms: int) -> Key:
    """Return the key of the posts that were claimed of a slot of time; `slot_ms` is when it begins."""
    return _single(f"budget/{slot_ms}")


def user_rate_key(user_id: str) -> Key:
    """Return the key of the bucket of all connections of a user."""
    return _single(f"rate/user/{user_id}")


def status_rate_key(user_id: str) -> Key:
    """Return the key of the bucket of a user's changes of status."""
    return _single(f"rate/status/{user_id}")


def tally_key() -> Key:
    """Return the key of the last count of who is online."""
    return _single("occupancy")


def address_rate_key(address: str) -> Key:
    """Return the key of the bucket of the refused handshakes from an address."""
    return _single(f"rate/ip/{address}")


def posted_key(audience: str) -> Key:
    """Return the key of the position of an audience after the last batch."""
    return _single(_POSTED + audience)


def posted_audience(partition: str) -> str:
    """Return the audience whose position this partition holds."""
    return partition.removeprefix(_POSTED)


def _single(partition: str) -> Key:
    return item({"audience": partition, "event_id": "-"})
