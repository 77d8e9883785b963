"""Clients that connect all at once: how long until each is in, and which quota they wait for.

A client that API Gateway or Lambda refuses comes again after its back-off. Our client's has full jitter
(clients/typescript); the documented client's has none, and it gives up (docs/api.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tools.scale.design import Design
from tools.scale.flow import Bucket
from tools.scale.quotas import Quota

_STEPS = 2_000  # about, for the time that the tightest quota alone needs
_SHORTEST_STEP_S, _LONGEST_STEP_S = 0.05, 5.0
_LONGEST_STEP_OF_WAVES_S = 1.0  # without jitter all come in one step, which must not hold more than the burst
_CLASSES = 8  # of clients, by how often they failed; the last holds all that failed more often


@dataclass(frozen=True)
class BackOff:
    """After the n-th failure (from 0) a client waits for a random part of `pause_s(n)`, or for all of it."""

    pause_s: Callable[[int], float]
    has_jitter: bool = True
    attempts: int | None = None
    """After so many failures it gives up."""


def ours(design: Design) -> BackOff:
    """Return the back-off of our client."""
    return BackOff(lambda failures: min(design.longest_pause_s, design.first_pause_s * 2.0**failures))


DOCUMENTED = BackOff(lambda failures: 2.0 ** (failures + 1), has_jitter=False, attempts=5)
"""docs/api.md: 2, 4, 8, 16 and 32 s, and then no more."""


@dataclass
class Storm:
    """What became of it; times in s since it began."""

    sockets: float
    half_s: float = math.inf
    most_s: float = math.inf
    """Until 99 % are in; infinite if they never are."""
    all_s: float = 0
    attempts: float = 0
    lost: float = 0
    """Sockets whose clients gave up."""
    peak_concurrency: float = 0
    short_s: dict[str, float] = field(default_factory=dict)
    """For how long sockets waited for each quota."""

    @property
    def limit(self) -> str | None:
        """Return the quota that held it up longest; None if nothing did."""
        return max(self.short_s, key=lambda key: self.short_s[key]) if self.short_s else None


class _Agenda:
    """Who attempts when: for each number of failures, amounts by step, kept as differences between steps."""

    def __init__(self, step_s: float, back_off: BackOff) -> None:
        self._step_s, self._back_off = step_s, back_off
        self._changes: dict[int, list[float]] = {}
        self._level = [0.0] * _CLASSES
        self.lost = 0.0
        self.waiting = 0.0

    def spread(self, failures: int, first: int, steps: int, amount: float) -> None:
        """Spread an amount evenly over some steps."""
        each = amount / steps
        self._at(first)[failures] += each
        self._at(first + steps)[failures] -= each
        self.waiting += amount

    def again(self, failures: int, step: int, amount: float) -> None:
        """Let those who failed once more come again."""
        if self._back_off.attempts is not None and failures >= self._back_off.attempts:
            self.lost += amount
            return
        steps = max(1, round(self._back_off.pause_s(failures) / self._step_s))
        if self._back_off.has_jitter:
            self.spread(min(failures, _CLASSES - 1), step + 1, steps, amount)
        else:
            self.spread(min(failures, _CLASSES - 1), step + steps, 1, amount)

    def due(self, step: int) -> list[float]:
        """Return who attempts in a step, by failures."""
        for failures, change in enumerate(self._changes.pop(step, ())):
            self._level[failures] += change
        found = [max(0.0, level) for level in self._level]
        self.waiting -= sum(found)
        return found

    def _at(self, step: int) -> list[float]:
        return self._changes.setdefault(step, [0.0] * _CLASSES)


def simulate(
    clients: float,
    design: Design,
    quotas: Mapping[str, Quota],
    *,
    back_off: BackOff | None = None,
    within_s: float | None = None,
) -> Storm:
    """Let clients connect: at random within `within_s`, or all having just lost their connection (None)."""
    back_off = back_off or ours(design)
    sockets = clients * design.sockets
    door = _Door(design, quotas)
    longest_s = _LONGEST_STEP_S if back_off.has_jitter else _LONGEST_STEP_OF_WAVES_S
    step_s = min(longest_s, max(_SHORTEST_STEP_S, sockets / door.pace / _STEPS))
    agenda = _Agenda(step_s, back_off)
    if within_s is None:
        agenda.again(0, 0, sockets)
    else:
        agenda.spread(0, 1, max(1, round(within_s / step_s)), sockets)
    storm = Storm(sockets)
    done, step = 0.0, 0
    while done + agenda.lost < sockets * (1 - 1e-9) - 0.5:
        step += 1
        due = agenda.due(step)
        wanted = sum(due)
        storm.attempts += wanted
        served, tightest = door.serve(wanted, step_s)
        if served < wanted * (1 - 1e-9):
            storm.short_s[tightest] = storm.short_s.get(tightest, 0.0) + step_s
            for failures, amount in enumerate(due):
                if amount:
                    agenda.again(failures + 1, step, amount * (1 - served / wanted))
        done += served
        now = step * step_s
        if done >= 0.5 * sockets:
            storm.half_s = min(storm.half_s, now)
        if done >= 0.99 * sockets:
            storm.most_s = min(storm.most_s, now)
        storm.all_s = now
    storm.lost, storm.peak_concurrency = agenda.lost, door.functions.peak
    return storm


class _Door:
    """All quotas that a handshake needs something of."""

    def __init__(self, design: Design, quotas: Mapping[str, Quota]) -> None:
        handshakes = quotas["requests"].default * design.connect_share * design.stages_share
        writes = quotas["table_writes"].default
        self._buckets = {
            "connects": Bucket(quotas["connects"].default, quotas["connects"].burst),
            "requests": Bucket(handshakes, handshakes),
            "table_writes": Bucket(writes, writes),
        }
        self._takes = {"connects": 1.0, "requests": 1.0, "table_writes": max(1e-9, design.busiest_writes)}
        self.functions = _Functions(design, quotas)
        self.pace = min(bucket.rate / self._takes[key] for key, bucket in self._buckets.items())

    def serve(self, wanted: float, step_s: float) -> tuple[float, str]:
        """Let through what all quotas allow in a step; returns how much, and the tightest quota."""
        for bucket in self._buckets.values():
            bucket.refill(step_s)
        room = {key: bucket.level / self._takes[key] for key, bucket in self._buckets.items()}
        room |= self.functions.room(wanted, step_s)
        tightest = min(room, key=lambda key: room[key])
        served = min(wanted, room[tightest])
        for key, bucket in self._buckets.items():
            bucket.take(served * self._takes[key])
        self.functions.serve(served, step_s)
        return served, tightest


class _Functions:
    """Lambda's environments of `connect`: how many handshakes they serve, and how fast more of them come."""

    def __init__(self, design: Design, quotas: Mapping[str, Quota]) -> None:
        self._busy_s, self._start_s = design.connect_ms / 1000, design.start_cpu_ms / 1000
        self._most = quotas["concurrency"].default
        self._starts = Bucket(quotas["starts"].default / 10, quotas["starts"].default)
        self._warm = 0.0
        self.peak = 0.0

    def room(self, wanted: float, step_s: float) -> dict[str, float]:
        """Return how many handshakes each of the two quotas lets through in a step."""
        self._starts.refill(step_s)
        by_warm = self._warm * step_s / self._busy_s
        missing = max(0.0, wanted - by_warm)
        each = self._by_new(step_s)
        return {
            "starts": by_warm + min(missing, self._starts.level * each),
            "concurrency": by_warm + min(missing, (self._most - self._warm) * each),
        }

    def _by_new(self, step_s: float) -> float:
        """Return how many handshakes a new environment serves in a step, if all come at its beginning."""
        return max(1.0, step_s / (self._busy_s + self._start_s))

    def serve(self, served: float, step_s: float) -> None:
        """Note what a step served: new environments stay."""
        by_warm = self._warm * step_s / self._busy_s
        new = max(0.0, served - by_warm) / self._by_new(step_s)
        self._starts.take(new)
        self._warm += new
        in_use = min(served, by_warm) * self._busy_s / step_s + new
        self.peak = max(self.peak, in_use)
