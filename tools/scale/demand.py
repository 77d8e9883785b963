"""What a workload needs of each quota, and which it passes first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tools.scale.design import Design
from tools.scale.quotas import Quota

STORM_S = 600.0
"""In which all should be connected again."""
BROADCAST_S = 60.0
"""In which everybody should have an event."""
ADVICE_S = 110 * 60.0
"""After which a connection is advised to move, before API Gateway ends it after two hours."""
SWEEP_S = 60.0


@dataclass(frozen=True)
class Need:
    """A workload's needs, by the quotas' keys."""

    workload: str
    target: str
    needs: Mapping[str, float]

    def times(self, quotas: Mapping[str, Quota]) -> dict[str, float]:
        """Return how many times each default it needs, the most first."""
        found = {key: need / quotas[key].default for key, need in self.needs.items()}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def first(self, quotas: Mapping[str, Quota]) -> str | None:
        """Return the quota that it passes by most; None if the defaults carry it."""
        key, times = next(iter(self.times(quotas).items()))
        return key if times > 1 else None

    def cells(self, quotas: Mapping[str, Quota]) -> int:
        """Return how many stacks in accounts of their own carry it by default quotas."""
        return max(1, math.ceil(next(iter(self.times(quotas).values())) - 1e-9))


def changes_a_second(connections: float, design: Design) -> float:
    """Return how many users come or go a second, if everybody stays for a session's length."""
    return 2 * connections / design.session_s


def watchers(design: Design) -> float:
    """Return how many clients watch one listener, if the watched are spread evenly."""
    return design.watched / design.listeners


def idle(connections: float, design: Design) -> Need:
    """Connections that hear nothing: their pings, the sweep's questions, and the move before two hours are over."""
    sockets = connections * design.sockets
    messages, gets = sockets / design.silence_s, sockets * design.gets_a_second
    return Need(
        "silent connections",
        "pings answered",
        {
            "requests": max(messages / design.messages_share, gets / design.posts_share, messages + gets),
            "connects": sockets / ADVICE_S,
            "table_reads": sockets * design.connection_bytes / 4096 / 2 / SWEEP_S + messages / 2,
        },
    )


def storm(connections: float, design: Design) -> Need:
    """All come back within the target."""
    a_second = connections / STORM_S
    sockets = a_second * design.sockets
    posts = a_second * design.listeners * watchers(design)
    return Need(
        "everybody reconnects",
        f"all within {STORM_S / 60:.0f} min",
        {
            "connects": sockets,
            "requests": max(sockets / design.messages_share, posts / design.posts_share),
            "table_writes": sockets * design.busiest_writes,
            "partition_writes": a_second / design.audience_shards,
            "concurrency": sockets * design.connect_ms / 1000,
            "bus_puts": a_second,
        },
    )


def broadcast(connections: float, design: Design) -> Need:
    """An event for everybody."""
    posts = connections * design.sockets / BROADCAST_S
    return Need(
        "one event for everybody",
        f"all within {BROADCAST_S:.0f} s",
        {"requests": posts / (design.posts_share * design.wide_share)},
    )


def presence(connections: float, design: Design, *, watching: bool) -> Need:
    """Users who come and go all the time, watched or heard by everybody."""
    design = design if watching else replace(design, watched=0)
    changes = changes_a_second(connections, design)
    if watching:
        posts = changes * design.listeners * watchers(design) / design.posts_share
    else:  # each hears of all that is new once in the time that a state may be late
        posts = connections / design.lateness_s / (design.posts_share * design.wide_share)
    sockets = connections * design.sockets / design.session_s
    return Need(
        f"presence, {design.watched:g} watched" if watching else "presence, everybody hears everybody",
        f"no state later than {design.lateness_s:g} s",
        {
            "requests": posts,
            "connects": sockets,
            "table_writes": sockets * 2 * design.busiest_writes,  # to come and to go
            "partition_writes": changes / design.audience_shards,
            "bus_puts": changes,
        },
    )


def all_needs(connections: float, design: Design) -> list[Need]:
    """Return every workload's."""
    return [
        idle(connections, design),
        storm(connections, design),
        broadcast(connections, design),
        presence(connections, design, watching=True),
        presence(connections, design, watching=False),
    ]
