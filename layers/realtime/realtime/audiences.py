"""Audiences, the only routing concept: a connection subscribes to audiences; an event is recorded for audiences.

`calls/{user}`, `notifications/{user}`   one user's connections on that endpoint
`feed/{user}`, `presence/{user}`         the connections that watch one user
`{endpoint}/*/{shard}`                   every connection on that endpoint, split over shards
`connection/{id}`                        one connection

Entries are recorded for these. A connection of the stage `live` hears several endpoints, and subscribes instead to

`live/{user}`                            for `calls/{user}` and `notifications/{user}`
`watched/{user}`                         for `feed/{user}` and `presence/{user}`
`live/*/{shard}`                         for this shard of feed, presence and notifications
`live-notifications/*/{shard}`           for this shard of notifications, if it hears no presence or watches users
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from zlib import crc32

CONNECTION = "connection"
_LOG = "presence"  # the endpoint in whose wide audiences the changes of presence are recorded, for feed as well
_OF_PRESENCE = frozenset({"feed", "presence"})
_OF_USER = ("calls", "notifications")  # the endpoints that have messages for one user
LIVE = "live"  # the stage whose connections hear several endpoints, and their audiences
_WATCHED = "watched"
_LIVE_NOTIFICATIONS = "live-notifications"
_STANDS_FOR = {LIVE: _OF_USER, _WATCHED: ("presence", "feed")}
_STANDS_FOR_EVERYONE = {LIVE: ("presence", "feed", "notifications"), _LIVE_NOTIFICATIONS: ("notifications",)}
_OF_LIVE = frozenset({LIVE, _WATCHED, _LIVE_NOTIFICATIONS})
_LISTED_IN = {**dict.fromkeys((*_OF_USER, LIVE), "user"), **dict.fromkeys(_OF_PRESENCE, _WATCHED)}


def personal(endpoint: str, user_id: str) -> str:
    """Return the audience about one user: their own connections, or the connections that watch them."""
    return f"{endpoint}/{user_id}"


def everyone(endpoint: str, shards: int) -> list[str]:
    """Return the audiences that together are all connections on an endpoint."""
    return [wide(endpoint, str(shard)) for shard in range(shards)]


def wide(endpoint: str, shard: str) -> str:
    """Return one of these audiences."""
    return f"{endpoint}/*/{shard}"


def shard_of(audience: str) -> str:
    """Return the shard of a wide audience.

    Raises ValueError if it is not wide.
    """
    if not is_wide(audience):
        raise ValueError(f"{audience} is no wide audience")
    return audience.partition("/*/")[2]


def direct(connection_id: str) -> str:
    """Return the audience of a single connection; it is also the key of that connection's session."""
    return f"{CONNECTION}/{connection_id}"


def initial_audiences(
    stage: str,
    user_id: str,
    connection_id: str,
    shards: int,
    watched: Sequence[str] = (),
    endpoints: Collection[str] = (),
) -> list[str]:
    """Return the audiences that a new connection subscribes to; if it watches users, it gets only their presence.

    `endpoints` are those that a connection of the stage `live` hears.
    """
    shard = str(crc32(connection_id.encode()) % shards)
    if stage == LIVE:
        return [*own_live(user_id, endpoints), *_live_presence(shard, watched, endpoints)]
    if watched:
        return [watching(stage, each) for each in watched]
    own_shard = wide(stage, shard)
    return {
        "feed": [own_shard],
        "presence": [own_shard],
        "calls": [personal("calls", user_id)],
        "notifications": [personal("notifications", user_id), own_shard],
    }[stage]


def own_live(user_id: str, endpoints: Collection[str]) -> list[str]:
    """Return the audience by which a connection of the stage `live` hears its user's messages, if it hears any."""
    return [personal(LIVE, user_id)] if any(each in endpoints for each in _OF_USER) else []


def _live_presence(shard: str, watched: Sequence[str], endpoints: Collection[str]) -> list[str]:
    if watched:
        return [*(watching(LIVE, each) for each in watched), *beside_watched(wide(LIVE, shard), endpoints)]
    if _OF_PRESENCE.isdisjoint(endpoints):
        return beside_watched(wide(LIVE, shard), endpoints)
    return [wide(LIVE, shard)]


def beside_watched(everyone_else: str, endpoints: Collection[str]) -> list[str]:
    """Return what a connection of the stage `live` hears, beside watched users, in place of a shard of everyone."""
    return [wide(_LIVE_NOTIFICATIONS, shard_of(everyone_else))] if "notifications" in endpoints else []


def watching(stage: str, user_id: str) -> str:
    """Return the audience of the connections of a stage that watch a user."""
    return personal(_WATCHED if stage == LIVE else stage, user_id)


def stage_of(subscribed: str) -> str:
    """Return the stage of an audience's subscribers."""
    kind = endpoint_of(subscribed)
    return LIVE if kind in _OF_LIVE else kind


def may_watch(wide_audience: str) -> bool:
    """Return whether the subscribers of a wide audience may watch users besides."""
    return endpoint_of(wide_audience) == _LIVE_NOTIFICATIONS


def subscribed_for(audience: str) -> tuple[str, ...]:
    """Return the audiences whose subscribers get the entries of an audience, which is not a single connection.

    They are the audience itself, and those for connections that hear several endpoints.
    """
    endpoint, _, user_id = audience.partition("/")
    if is_wide(audience):
        shard = shard_of(audience)
        others = [wide(_LIVE_NOTIFICATIONS, shard)] if endpoint == "notifications" else []
        return audience, wide(LIVE, shard), *others
    return audience, personal(_WATCHED if endpoint in _OF_PRESENCE else LIVE, user_id)


def listing_of(subscribed: str) -> str:
    """Return the name under which the subscribers of an audience are listed.

    It is `user/{user}` for a user's own connections and `watched/{user}` for those that watch a user, of all stages, so
    that one read finds them; otherwise it is the audience itself.
    """
    kind, _, rest = subscribed.partition("/")
    return subscribed if is_wide(subscribed) else f"{_LISTED_IN.get(kind, kind)}/{rest}"


def heard_through(subscribed: Iterable[str], endpoints: Collection[str]) -> Iterator[str]:
    """Yield the audiences whose entries a connection gets through its subscriptions."""
    for audience in subscribed:
        kind, _, rest = audience.partition("/")
        found = (_STANDS_FOR_EVERYONE if is_wide(audience) else _STANDS_FOR).get(kind)
        if found is None:
            yield audience
        else:
            yield from (f"{each}/{rest}" for each in found if each in endpoints)


def audiences_beside(audience: str, user_id: str, connection_id: str) -> list[str]:
    """Return the audiences of all items of a connection that subscribes to a wide one and watches nobody."""
    endpoint = endpoint_of(audience)
    own = [personal(endpoint, user_id)] if endpoint == "notifications" else []
    return [direct(connection_id), audience, *own]


def connection_of(audience: str) -> str | None:
    """Return the connection's id if the audience is a single connection."""
    kind, _, rest = audience.partition("/")
    return rest if kind == CONNECTION else None


def is_wide(audience: str) -> bool:
    """Return whether an audience is a shard of everyone on an endpoint."""
    return "/*/" in audience


def log_of(audience: str) -> str | None:
    """Return the partition with the entries for an audience; None if it has none.

    A change of presence is recorded once, for both endpoints, and not for those who watch its user: they read the
    user's state instead.
    """
    if not is_presence(audience):
        return audience
    return wide(_LOG, shard_of(audience)) if is_wide(audience) else None


def is_presence(audience: str) -> bool:
    """Return whether an audience's entries are about the presence of users."""
    return endpoint_of(audience) in _OF_PRESENCE


def brings_presence(subscribed: str) -> bool:
    """Return whether the subscribers of an audience are told the presence of users."""
    kind = endpoint_of(subscribed)
    return kind in _OF_PRESENCE or kind == _WATCHED or (kind == LIVE and is_wide(subscribed))


def is_watching(subscribed: str) -> bool:
    """Return whether an audience is the connections that watch one user; the word `watched` alone is none."""
    return brings_presence(subscribed) and not is_wide(subscribed) and "/" in subscribed


def watched_user(audience: str) -> str:
    """Return the user that an audience is about; it must not be wide."""
    return audience.partition("/")[2]


def endpoint_of(audience: str) -> str:
    """Return the endpoint of an audience's entries; another word for an audience of several endpoints."""
    return audience.partition("/")[0]
