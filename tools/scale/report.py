"""The simulation of all workloads and sizes, as the tables and the picture of docs/scale.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from operate.state import ROOT
from tools import drawing, marks, results
from tools.scale import demand, fanout, storms
from tools.scale.design import Design, measured
from tools.scale.picture import HEIGHT, Row, picture
from tools.scale.quotas import QUOTAS, Quota
from tools.scale.tables import (
    SIZES,
    cell_table,
    check_table,
    count,
    figure_table,
    limit_table,
    mesh_table,
    quota_table,
    time,
)

PATH, PICTURE = ROOT / "docs" / "scale.md", ROOT / "docs" / "scale.svg"
PROGRAM = "python -m bench scale"

OPENING_S = 60.0
"""In which all open the app, in the storm of those who connect."""
HOT_WATCHERS = 100_000
_BEFORE_HOLD_S = 12.3
"""How long a connection that hung held its lane before."""


def run(design: Design, quotas: Mapping[str, Quota] = QUOTAS, sizes: Sequence[int] = SIZES) -> list[Row]:
    """Simulate every workload with every size."""
    found: list[Row] = []

    def row(name: str, outcomes: list[tuple[str, float]]) -> None:
        found.append(Row(name, [text for text, _ in outcomes], [seconds for _, seconds in outcomes]))

    def storm(back_off: storms.BackOff | None, within_s: float | None, by: Design = design) -> list[tuple[str, float]]:
        runs = [storms.simulate(size, by, quotas, back_off=back_off, within_s=within_s) for size in sizes]
        return [(_storm(each), each.all_s) for each in runs]

    def everybody(stuck: float, hold_s: float | None = None) -> list[tuple[str, float]]:
        runs = [fanout.broadcast(size * design.sockets, design, quotas, stuck=stuck, hold_s=hold_s) for size in sizes]
        return [(_broadcast(each), each.seconds) for each in runs]

    def day(*, watching: bool) -> list[tuple[str, float]]:
        outcomes = []
        for size in sizes:
            changes = demand.changes_a_second(size, design)
            found_day = fanout.day(
                size,
                design,
                quotas,
                changes=changes * design.listeners if watching else changes,
                hearers=demand.watchers(design) if watching else size,
                wide=not watching,
            )
            outcomes.append((_day(found_day), math.inf if found_day.hours_behind else found_day.worst_hour_s))
        return outcomes

    row("all open the app within a minute", storm(None, OPENING_S))
    row("all reconnect after an outage", storm(None, None))
    peaks = [storms.simulate(size, design, quotas).peak_concurrency for size in sizes]
    row("all reconnect: executions of `connect` at once", [(count(peak), math.nan) for peak in peaks])
    row("all reconnect, if `watch` wrote nothing", storm(None, None, replace(design, watch_writes=0)))
    row(
        "all reconnect, documented clients, which do not watch",
        storm(storms.DOCUMENTED, None, replace(design, watched=0, live_share=2 / 3)),  # what the four endpoints have
    )
    row("one event for everybody", everybody(0))
    row("one event for everybody, 1 % hang", everybody(0.01))
    row("one event for everybody, 10 % hang", everybody(0.10))
    row("one event for everybody, 1 % hang for 12.3 s, as before", everybody(0.01, _BEFORE_HOLD_S))
    row(f"a day of presence, {design.watched:g} watched", day(watching=True))
    row("a day of presence, everybody hears everybody", day(watching=False))
    hot = [fanout.hot_change_s(min(size, HOT_WATCHERS), design, quotas) for size in sizes]
    row("one change of a user watched by 100,000", [(time(each), each) for each in hot])
    return found


def _storm(storm: storms.Storm) -> str:
    if storm.lost:
        return f"{100 * storm.lost / storm.sockets:.4g} % give up after {time(storm.all_s)}"
    half = f"{time(storm.all_s)}; half in {time(storm.half_s)}"
    return f"{half}, by `{storm.limit}`" if storm.limit else half


def _broadcast(outcome: fanout.Broadcast) -> str:
    held = ", by the lane" if outcome.limit == "lane" else ""
    back = f"; {outcome.reconnecting:,.0f} reconnect" if outcome.reconnecting else ""
    return f"{time(outcome.seconds)}{held}{back}"


def _day(day: fanout.Day) -> str:
    if day.hours_behind:
        return f"behind in {day.hours_behind} h"
    merged = f"; {day.posts_share:.0%} of the posts" if day.posts_share < 0.9 else ""
    return f"{time(day.median_s)}, p99 {time(day.last_s)}{merged}"


def outcome_table(found: list[Row], sizes: Sequence[int] = SIZES) -> str:
    """Return what each workload takes."""
    head = " | ".join(f"{size:,}" for size in sizes)
    lines = [f"| connections | {head} |", f"| --- |{' ---: |' * len(sizes)}"]
    return "\n".join(lines + [f"| {row.name} | {' | '.join(row.shown)} |" for row in found])


@cache
def section() -> str:
    """Return what stands between the marks of docs/scale.md."""
    design, figures = measured(), results.load()
    parts = [
        "What each takes with AWS's default quotas, RequestsPerSecond=10000 and LiveShare=most:",
        outcome_table(run(design)),
        "Which quota is the first limit, and how many times its default is needed:",
        limit_table(design),
        "How many cells carry it:",
        cell_table(design),
        "What crosses between cells if everybody may watch listeners of every cell:",
        mesh_table(design),
        "The quotas:",
        quota_table(),
        "Our own figures, from `bench/results.json` and from the settings; what is assumed says so:",
        figure_table(design),
    ]
    if check := check_table(figures):
        parts += ["The simulation beside the embedded stack, with the emulator's rates as quotas:", check]
    return "\n\n".join(parts)


def write() -> str:
    """Write the section and the picture; returns the section."""
    text = section()
    marks.write(PATH, PROGRAM, text)
    drawing.write(PICTURE, picture(run(measured())), HEIGHT)
    return text
