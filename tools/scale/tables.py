"""The tables of docs/scale.md that need no simulation: limits, cells, quotas and our figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tools.scale import cells, demand
from tools.scale.design import Design
from tools.scale.quotas import QUOTAS, Quota, with_defaults

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
"""Users who are connected at the busiest time."""
RAISED = 10
"""How many times the defaults the second count of cells assumes, for quotas that can be raised."""
RAISED_SHARDS = 16


def time(seconds: float) -> str:
    """Return a time as people say it."""
    for limit, unit, name in ((60, 1, "s"), (7200, 60, "min"), (math.inf, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
    return "never"


def count(value: float) -> str:
    """Return a number with two digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def limit_table(design: Design, quotas: Mapping[str, Quota] = QUOTAS, sizes: Sequence[int] = SIZES) -> str:
    """Return the first limit of each workload and size: the quota, and how many times its default is needed."""
    head = " | ".join(f"{size:,}" for size in sizes)
    lines = [f"| workload and target | {head} |", f"| --- |{' --- |' * len(sizes)}"]
    by_workload = zip(*(demand.all_needs(size, design) for size in sizes), strict=True)
    for needs in by_workload:
        shown = [_limits(need, quotas) for need in needs]
        lines.append(f"| {needs[0].workload}: {needs[0].target} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _limits(need: demand.Need, quotas: Mapping[str, Quota]) -> str:
    times = need.times(quotas)
    if need.first(quotas) is None:
        key, by = next(iter(times.items()))
        return f"none; `{key}` at {100 * by:.0f} %"
    return ", ".join(f"`{key}` × {by:.2g}" if by < 10 else f"`{key}` × {by:.0f}" for key, by in times.items() if by > 1)


def cell_table(design: Design, sizes: Sequence[int] = SIZES) -> str:
    """Return how many cells each workload needs: by default quotas, and with raised ones."""
    raised, sharded = _raised(), replace(design, audience_shards=RAISED_SHARDS)
    head = " | ".join(f"{size:,}" for size in sizes)
    lines = [f"| cells: default quotas / ten times the defaults | {head} |", f"| --- |{' ---: |' * len(sizes)}"]
    plain = zip(*(demand.all_needs(size, design) for size in sizes), strict=True)
    more = zip(*(demand.all_needs(size, sharded) for size in sizes), strict=True)
    for needs, needs_raised in zip(plain, more, strict=True):
        pairs = zip(needs, needs_raised, strict=True)
        shown = [f"{need.cells(QUOTAS)} / {other.cells(raised)}" for need, other in pairs]
        lines.append(f"| {needs[0].workload} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _raised() -> dict[str, Quota]:
    return with_defaults(**{key: quota.default * RAISED for key, quota in QUOTAS.items() if not quota.is_fixed})


def mesh_table(design: Design, sizes: Sequence[int] = SIZES) -> str:
    """Return what crosses between cells if users watch listeners of all cells; the cells have raised quotas."""
    sharded = replace(design, audience_shards=RAISED_SHARDS)
    lines = [
        "| connections | cells | rules on each bus | events a second to each cell | dollars a month, all cells |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in sizes:
        number = demand.presence(size, sharded, watching=True).cells(_raised())
        if number > 1:
            each = cells.mesh(size, number, design)
            shown = f"{each.cells} | {each.rules} | {count(each.received)} | {each.dollars:,.0f}"
            lines.append(f"| {size:,} | {shown} |")
    return "\n".join(lines)


def quota_table(quotas: Mapping[str, Quota] = QUOTAS) -> str:
    """Return AWS's quotas, with how to raise each and where it stands."""
    lines = ["| key | quota | default | for each | raised by | source |", "| --- | --- | ---: | --- | --- | --- |"]
    for quota in quotas.values():
        default = f"{quota.default:,.0f}{quota.unit}" + (f", burst {quota.burst:,.0f}" if quota.burst else "")
        ways = quota.raise_by or "nobody"
        what = f"{quota.service}: {quota.name}"
        lines.append(f"| `{quota.key}` | {what} | {default} | {quota.per} | {ways} | {quota.source} |")
    return "\n".join(lines)


def figure_table(design: Design) -> str:
    """Return the figures that the simulation starts from."""
    rows = {
        "write units of a coming online, without the outbox": f"{design.connect_writes:g}",
        "write units of a user whom a connection begins to watch": f"{design.watch_writes:g}",
        "a warm `connect`: CPU at 512 MB, and one transaction": f"{design.connect_ms:.0f} ms (assumed: 10 of it)",
        "a cold start of `connect`": f"{design.start_cpu_ms:.0f} ms",
        "posts a second, one core in the real handler": f"{design.posts_a_core:,.0f}",
        "posts in flight in an instance, and how long one takes": (
            f"{design.posts_in_flight}, {design.post_ms:g} ms (assumed)"
        ),
        "our client: pings after; pauses before it comes again": (
            f"{design.silence_s:g} s of silence; a random part of {design.first_pause_s:g} s, doubled up to "
            f"{design.longest_pause_s:g} s"
        ),
        "of the account's requests: handshakes, clients' messages, posts": (
            f"{design.connect_share:.0%}, {design.message_share:.0%}, {design.posts_share:.0%}; "
            f"{design.stages_share:.0%} of the first two for the stages in use; "
            f"{design.wide_share:.0%} of the posts for everybody's events"
        ),
        "`AudienceShards`, sockets a user, watched listeners": (
            f"{design.audience_shards}, {design.sockets}, {design.watched:g}"
        ),
        "a session; the share of listeners": f"{time(design.session_s)}; {design.listeners:.0%}",
        "a lease; how long a connection that hangs holds its lane": f"{design.lease_s:g} s; {design.lane_hold_s:g} s",
    }
    return "\n".join(["| figure | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def check_table(figures: Mapping[str, float]) -> str:
    """Return how the simulation compares with the embedded stack; empty if that was never measured."""
    names = {
        "connect": "connections open, all at once",
        "reconnect": "connections come back, after all were closed",
        "broadcast": "connections have one event",
    }
    lines = ["| on the embedded stack | simulated | measured | ratio |", "| --- | ---: | ---: | ---: |"]
    for key, name in names.items():
        if f"scale_check.{key}_s" in figures:
            simulated, took = figures[f"scale_check.{key}_simulated_s"], figures[f"scale_check.{key}_s"]
            number = f"{figures['scale_check.connections']:.0f}"
            lines.append(f"| {number} {name} | {simulated:.2f} s | {took:.2f} s | {simulated / took:.2f} |")
    return "\n".join(lines) if len(lines) > 2 else ""
