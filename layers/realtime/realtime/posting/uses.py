"""What posts are for, and what that means for the budget that all instances share (shared_quota.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Use:
    """How far the posts of a function may go; `part`, `allowed` and `most` are parts of the budget.

    They may use `part` of each slot. All their `instances` together may use `allowed` without a claim. With `tolerated`
    as the part of 429s, an instance still goes on at its pace. `most` is the most for each instance.
    """

    part: float
    tolerated: float
    allowed: float = 0.0
    instances: int = 1
    most: float = 1.0


# Calls and notifications are few and go first: the others make room for them, in the budget and when others press. An
# instance posts them for each shard of the stream; a table has four shards at first.
NARROW: Final = Use(1.0, tolerated=0.5, allowed=0.05, instances=8)
OTHERS: Final = Use(0.9, tolerated=0.1)
# These have few instances (template.yaml), which mostly make a request now and then. Without an allowance each request
# would wait for a claim. What `late` posts to are slow clients: their 429s say nothing about the account.
LATE: Final = Use(0.9, tolerated=1.0, allowed=0.015, instances=10)
FAREWELL: Final = Use(0.9, tolerated=0.1, allowed=0.0075, instances=5)
# A sweep has a minute, so it takes its time.
SWEEP: Final = Use(0.9, tolerated=0.1, allowed=0.0025, most=0.05)

Purpose: TypeAlias = Literal["narrow", "wide", "answers", "late", "farewell", "sweep"]
USES: Final[Mapping[Purpose, Use]] = {
    "narrow": NARROW,
    "wide": OTHERS,
    "answers": OTHERS,
    "late": LATE,
    "farewell": FAREWELL,
    "sweep": SWEEP,
}
# What needs no claim is not there to be claimed.
ALLOWED: Final = sum(use.allowed for use in USES.values())
