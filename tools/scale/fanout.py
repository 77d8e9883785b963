"""Messages that go out: an event for everybody, presence in passes, connections that hang, users whom many watch."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.scale.design import Design
from tools.scale.flow import Lateness, Waiting
from tools.scale.quotas import Quota

INVOCATION_S = 900.0
"""The longest that a function may run: a pass that takes longer is handed back, and goes on."""


def posts_a_second(design: Design, quotas: Mapping[str, Quota], *, wide: bool = True) -> float:
    """Return how fast messages may go out: the posts' share of the quota, and for everybody a part of that."""
    return quotas["requests"].default * design.posts_share * (design.wide_share if wide else 1)


def lanes_a_second(design: Design, stuck: float = 0.0, hold_s: float | None = None) -> float:
    """Return how fast the lanes of a wide audience post: by the core, and by the posts in flight.

    A share of `stuck` connections keeps its place for `hold_s` each, instead of the time of a post.
    """
    hold_s = design.lane_hold_s if hold_s is None else hold_s
    in_flight = design.posts_in_flight / (design.post_ms / 1000 * (1 - stuck) + hold_s * stuck)
    return design.audience_shards * min(design.posts_a_core, in_flight)


@dataclass(frozen=True)
class Broadcast:
    """One event for everybody."""

    seconds: float
    limit: str
    """The quota that sets the pace, or `lane`: one instance's core and posts in flight."""
    reconnecting: float = 0
    """Connections that hung, and are closed so that they come back."""


def broadcast(
    connections: float,
    design: Design,
    quotas: Mapping[str, Quota],
    *,
    stuck: float = 0.0,
    hold_s: float | None = None,
) -> Broadcast:
    """Return how long it takes until everybody has it, from the moment that the stream shows it."""
    quota, lanes = posts_a_second(design, quotas), lanes_a_second(design, stuck, hold_s)
    reads = connections * design.connection_bytes / 4096 / 2 / quotas["table_reads"].default
    pace = min(quota, lanes)
    seconds = design.poll_s + max(connections / pace, reads)
    return Broadcast(seconds, "requests" if quota <= lanes else "lane", connections * stuck)


def distinct(changes: float, hearers: float, recipients: float) -> float:
    """Return how many of the recipients hear at least one of the changes, each of which `hearers` of them hear."""
    if recipients <= 0:
        return 0.0
    return recipients * (1 - math.pow(max(0.0, 1 - hearers / recipients), changes))


@dataclass
class Presence:
    """What became of changes of users' states in some time."""

    lateness: Lateness = field(default_factory=Lateness)
    changes: float = 0
    posts: float = 0
    merged: float = 0
    """Messages that were never posted alone: a frame held several, or a later state took their place."""
    carried: float = 1
    """The share of the changes that could be posted in the time that passed; less than 1 if more and more wait."""


def presence(
    changes_a_second: float,
    hearers: float,
    recipients: float,
    design: Design,
    quotas: Mapping[str, Quota],
    *,
    seconds: float,
    seed: int = 1,
    wide: bool = True,
) -> Presence:
    """Let changes come at random for a while, and post them pass by pass: a pass takes all that waits.

    With `batch`, a recipient gets one frame a pass, with all that is new for it; else each state is a post, and only
    one that a later state of the same user replaces is left out, which is rare among many users.
    """
    dice = random.Random(seed)  # a simulation
    pace = min(posts_a_second(design, quotas, wide=wide), lanes_a_second(design))
    found, waiting = Presence(), Waiting()
    now, came_until = 0.0, 0.0
    while now < seconds:
        now += design.poll_s
        while came_until < now:  # in slices, so that those of a long pass are not all as old as its beginning
            slice_s = min(1.0, now - came_until)
            amount = _poisson(changes_a_second * slice_s, dice)
            waiting.put(came_until + slice_s / 2, amount)
            found.changes += amount
            came_until += slice_s
        changes = min(waiting.amount, float(design.stream_batch))
        if not changes:
            continue
        alone = changes * min(hearers, recipients)
        posts = distinct(changes, hearers, recipients) if design.batch else alone
        now += posts / pace
        waiting.take(changes, now, found.lateness)
        found.posts += posts
        found.merged += alone - posts
    served = found.changes - waiting.amount
    if changes_a_second * now - served > design.stream_batch:
        found.carried = min(1.0, served / (changes_a_second * now))
    return found


@dataclass
class Day:
    """What became of a day's changes."""

    median_s: float
    last_s: float
    """99 % came earlier."""
    worst_hour_s: float
    """The same, in the busiest hour."""
    hours_behind: int
    """In which more came than could be posted: states are then left out, and their recipients told to ask again."""
    posts_share: float
    """Of the messages that would be posted if each state were one."""


SAMPLE_S = 300.0
"""How much of each hour is simulated."""


def day(
    most: float,
    design: Design,
    quotas: Mapping[str, Quota],
    *,
    changes: float,
    hearers: float,
    wide: bool,
) -> Day:
    """Simulate a part of each hour of a day; `most` connections, `changes` and `hearers` are the busiest hour's.

    At night a tenth as many are connected. Each of them hears the same share of what happens.
    """
    all_day, worst, behind, posts, alone = Lateness(), 0.0, 0, 0.0, 0.0
    for hour in range(24):
        share = 0.55 - 0.45 * math.cos(2 * math.pi * hour / 24)
        found = presence(
            changes * share, hearers * share, most * share, design, quotas, seconds=SAMPLE_S, seed=hour, wide=wide
        )
        all_day.parts += found.lateness.parts
        worst = max(worst, found.lateness.quantile(0.99))
        behind += found.carried < 0.95
        posts += found.posts
        alone += found.posts + found.merged
    return Day(all_day.quantile(0.5), all_day.quantile(0.99), worst, behind, posts / alone if alone else 1.0)


def _poisson(mean: float, dice: random.Random) -> float:
    """Return a random number of events; for many, the normal distribution is near enough."""
    if mean > 50:
        return max(0.0, dice.gauss(mean, mean**0.5))
    count, left = 0, dice.expovariate(1.0)
    while left < mean:
        count += 1
        left += dice.expovariate(1.0)
    return float(count)


def hot_change_s(watchers: float, design: Design, quotas: Mapping[str, Quota]) -> float:
    """Return how long one change of a user whom many watch takes, through the lane of calls and watchers."""
    return design.poll_s + watchers / min(posts_a_second(design, quotas, wide=False), lanes_a_second(design))
