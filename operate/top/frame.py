"""Draws a frame of `realtime top`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from operate.top.measures import Measures
from operate.top.state import Alarms, Frame, Queue
from realtime import metrics
from realtime.messages import STAGES

UNKNOWN = "–"
_DEAD_LETTERS = ("DeadLetter", "FailedEvents", "RejectedEvents", "UndeliveredEvents", "StreamFailures")


def draw(frame: Frame) -> RenderableType:
    """Return a frame as rich prints it."""
    moment = datetime.fromtimestamp(frame.at_s, UTC)
    measures = frame.measures
    over = f", rates over {measures.seconds:.0f} s" if measures else ""
    parts: list[RenderableType] = [
        Text(f"{frame.stack}  {moment:%Y-%m-%d %H:%M:%S}Z{over}", style="bold"),
        _alarms(frame.alarms),
        Columns(
            [
                _table("connections", _connections(frame)),
                _table("a second", _rates(measures)),
                _table("ms to a post", _lateness(measures), ("", "p50", "p99")),
                _table("queues", _queues(frame.queues), ("", "waiting", "in work", "delayed")),
            ],
            padding=(0, 3),
        ),
    ]
    parts += [Text(note, style="yellow") for note in frame.notes]
    return Group(*parts)


def _table(title: str, rows: Iterable[tuple[str, ...]], columns: tuple[str, ...] = ("", "")) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=any(columns))
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        is_bad = row[0].startswith("! ")
        table.add_row(*row, style="red" if is_bad else None)
    return table


def _alarms(alarms: Alarms | None) -> Text:
    if alarms is None:
        return Text(f"alarms {UNKNOWN}")
    if alarms.raised:
        return Text(f"! in alarm: {', '.join(alarms.raised)} (docs/runbook.md)", style="bold red")
    without = f", {alarms.without_data} without data yet" if alarms.without_data else ""
    return Text(f"no alarm ({alarms.quiet} quiet{without})", style="green")


def _connections(frame: Frame) -> Iterable[tuple[str, ...]]:
    found = frame.connections
    least = "" if frame.connections_are_all else "≥ "
    for stage in STAGES:
        yield stage, UNKNOWN if found is None else f"{least}{found.get(stage, 0):,}"
    yield "all", UNKNOWN if found is None else f"{least}{sum(found.values()):,}"


def _rates(measures: Measures | None) -> Iterable[tuple[str, ...]]:
    shown = (
        ("opened", metrics.OPENED),
        ("closed", metrics.CLOSED),
        ("refused", metrics.REFUSED),
        ("events in", metrics.EVENTS),
        ("rejected", metrics.REJECTED),
        ("delivered", metrics.DELIVERED),
        ("gone", metrics.GONE),
        ("late", metrics.LATE),
        ("posts", metrics.POSTS),
        ("throttled", metrics.THROTTLED),
        ("given up", metrics.DEAD_LETTERS),
    )
    for name, metric in shown:
        yield name, UNKNOWN if measures is None else f"{measures.rate(metric):,.2f}"
    if measures is not None:
        for kind, rate in list(measures.rates(metrics.EVENTS).items())[:4]:
            yield f"  {kind}", f"{rate:,.2f}"


def _lateness(measures: Measures | None) -> Iterable[tuple[str, ...]]:
    for name, metric in (("one user", metrics.LATENESS), ("everyone", metrics.WIDE_LATENESS)):
        found = measures.quantiles.get(metric.name, ()) if measures else ()
        yield name, *(f"{each:,.0f}" for each in found or ()), *([UNKNOWN] * (2 - len(found)))


def _queues(queues: Mapping[str, Queue] | None) -> Iterable[tuple[str, ...]]:
    for name, queue in sorted((queues or {}).items(), key=lambda each: (_holds_failures(each[0]), each[0])):
        mark = "! " if _holds_failures(name) and queue.waiting else ""
        yield f"{mark}{name}", str(queue.waiting), str(queue.in_work), str(queue.delayed)
    if queues is None:
        yield UNKNOWN, "", "", ""


def _holds_failures(name: str) -> bool:
    return any(each in name for each in _DEAD_LETTERS)
