"""Positions: what a client has received of each audience, as a short text that it keeps and gives back.

An event carries the position of its audience: `{audience: text}`. A client merges what it receives into one object, and
sends this object with `resume`. Answers carry a position too, under the key `since`: a time before which the client has
missed nothing, for the audiences whose events it has not received yet.

The highest id is not enough, because items are not always written in the order of their ids (an id is made first, and
a write that meets others is tried again): an event with a lower id may come later. So the text has the highest id and,
for each slice of time up to it, a sum of the ids that were posted. If the sum of the ids in the outbox is the same,
nothing is missing. If one to three ids make the difference, they are the missing ones. Otherwise the slice is sent
again.

`posted` makes the sums. If it does not know some of the ids, a sum is wrong, and a client receives again what it had.
It never misses anything for it, because a sum only contains what was posted before.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import combinations

from realtime.aws.retries import LONGEST_CALL_SECONDS
from realtime.ids import event_time_ms, make_event_id

SLICE_MS = 2_000
SLICES = 8
# How much later than its id an entry may be written: the id of a change of presence is made before the change itself is
# written, and the entry by another call. The slices cover it, whatever part of the newest one is over.
LATEST_MS = int(2 * LONGEST_CALL_SECONDS * 1000)
# No event is posted later: the stream's mappings give records up that are an hour old.
_POSTED_WITHIN_MS = 3_600_000
SINCE = "since"

_ID_BYTES = 14
_SUM_BYTES = 6
# If four or more ids are missing, some three of 512 have the same sum by chance: once in 10 million.
_MAX_SEARCHED = 512
_LONGEST_NAME = 200  # characters of an audience, whose user has an id of 128 at most; DynamoDB takes keys of 2 KB


@dataclass(frozen=True, slots=True)
class Position:
    """The highest id that a client received, and the sums of the ids in the slices up to it, the newest slice first.

    Missing sums are zero. Without any sum it is a time before which the client has missed nothing.
    """

    highest: str
    sums: tuple[int, ...] = ()

    @classmethod
    def at(cls, at_ms: int) -> Position:
        """Return the position of a client that has missed nothing before a time."""
        return cls(make_event_id(max(0, at_ms))[:12] + "0" * 16)

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read the text of a position.

        Raises ValueError if it is none.
        """
        try:
            octets = b64decode(text, altchars=b"-_", validate=True)
        except ValueError as error:
            raise ValueError("not a position") from error
        sums = octets[_ID_BYTES:]
        if len(octets) < _ID_BYTES or len(sums) % _SUM_BYTES or len(sums) > SLICES * _SUM_BYTES:
            raise ValueError("not a position")
        starts = range(0, len(sums), _SUM_BYTES)
        return cls(
            octets[:_ID_BYTES].hex(), tuple(int.from_bytes(sums[start : start + _SUM_BYTES]) for start in starts)
        )

    @property
    def text(self) -> str:
        """The position as text: 20 characters, and 8 for each slice back to the oldest that is not empty."""
        sums = b"".join(each.to_bytes(_SUM_BYTES) for each in self.sums)
        return urlsafe_b64encode(bytes.fromhex(self.highest) + sums).decode()

    @property
    def at_ms(self) -> int:
        """The time of the highest id."""
        return event_time_ms(self.highest)

    @property
    def begin(self) -> str:
        """The id after which the outbox has to be read, to tell what is missing."""
        return self.at((slice_of(self.highest) - SLICES + 1) * SLICE_MS).highest

    def missing(self, event_ids: Iterable[str]) -> set[str]:
        """Return which of these events, all after `begin` that there are, the client has not received.

        If that cannot be known, the events of a whole slice are among them.
        """
        missing: set[str] = set()
        newest = slice_of(self.highest)
        slices: list[list[str]] = [[] for _ in range(SLICES)]
        for event_id in event_ids:
            if event_id > self.highest:
                missing.add(event_id)
            elif self.sums and (age := newest - slice_of(event_id)) < SLICES:
                slices[age].append(event_id)
        for age, ids in enumerate(slices):
            missing |= _difference(self.sums[age] if age < len(self.sums) else 0, ids)
        return missing


def floor(connected_at_ms: int, now_ms: int) -> dict[str, str]:
    """Return the position of a connection that has received no event yet: it costs no read.

    What was recorded before the connection is not missed; what is older than an hour is not posted any more.
    """
    return {SINCE: Position.at(max(connected_at_ms, now_ms - _POSTED_WITHIN_MS) - LATEST_MS).text}


def parse_all(given: object) -> Mapping[str, Position]:
    """Read the object that a client sends.

    A client that lost its first connection before any answer came has no `since`. Then it has missed nothing before
    the first event that it received could have been posted. Raises ValueError, whose message says what is wrong.
    """
    if not isinstance(given, dict) or not given or not all(isinstance(text, str) for text in given.values()):
        raise ValueError("must be the object that you merged from the positions of messages, and not be empty")
    if any(len(audience) > _LONGEST_NAME for audience in given):
        raise ValueError("must have the keys that messages brought")
    try:
        parsed = {audience: Position.parse(text) for audience, text in given.items()}
    except ValueError as error:
        raise ValueError("must have the texts that messages brought") from error
    earliest_ms = min(each.at_ms for each in parsed.values())
    parsed.setdefault(SINCE, Position.at(earliest_ms - _POSTED_WITHIN_MS - LATEST_MS))
    return parsed


def _difference(received: int, ids: Sequence[str]) -> set[str]:
    """Return which of these ids a client has not received; all if the sum does not tell."""
    hashes = {hash_of(event_id): event_id for event_id in ids}
    difference = received
    for each in hashes:
        difference ^= each
    if not difference:
        return set()
    if difference in hashes:
        return {hashes[difference]}
    if len(ids) <= _MAX_SEARCHED:
        for one, event_id in hashes.items():
            if (other := difference ^ one) in hashes:
                return {event_id, hashes[other]}
        for one, two in combinations(hashes, 2):
            if (third := difference ^ one ^ two) in hashes:
                return {hashes[one], hashes[two], hashes[third]}
    return set(ids)


def slice_of(event_id: str) -> int:
    """Return the number of the slice that an id belongs to."""
    return int(event_id[:12], 16) // SLICE_MS


@lru_cache(maxsize=4096)
def hash_of(event_id: str) -> int:
    """Return the number that stands for an id in a sum."""
    return int.from_bytes(blake2b(event_id.encode(), digest_size=_SUM_BYTES).digest())
