"""The picture of docs/scale.md: seconds by connections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools import drawing
from tools.scale.tables import SIZES, time


@dataclass(frozen=True)
class Row:
    """A workload: what is shown for each size, and the seconds that the picture draws."""

    name: str
    shown: list[str]
    seconds: list[float]


_DRAWN = {  # by the name of the row: the colour, and a name for the picture
    "all reconnect after an outage": ("#d08a2e", "all reconnect"),
    "one event for everybody": ("#1f9d6b", "one event for everybody"),
    "one change of a user watched by 100,000": ("#b0568f", "a change watched by 100,000"),
    "a day of presence, 20 watched": ("#3f7fbf", "presence, 20 watched (p99)"),
    "a day of presence, everybody hears everybody": ("#c9503d", "presence, everybody hears everybody (p99)"),
}
_LEFT, _TOP, _RIGHT, _HEIGHT = 60, 40, 470, 320  # px
_DECADES = (-1, 5)  # of seconds


def picture(found: Sequence[Row], sizes: Sequence[int] = SIZES) -> Iterator[str]:
    """Yield a line for each workload: seconds by connections, both on logarithmic scales."""
    yield drawing.text(0, 18, "How long it takes at default quotas, by connections", kind="title")

    def x(size: float) -> float:
        low, high = math.log10(sizes[0]), math.log10(sizes[-1])
        return _LEFT + (math.log10(size) - low) / (high - low) * (_RIGHT - _LEFT)

    def y(seconds: float) -> float:
        low, high = _DECADES
        return _TOP + _HEIGHT - (math.log10(seconds) - low) / (high - low) * _HEIGHT

    for decade in range(_DECADES[0], _DECADES[1] + 1):
        yield drawing.grid(_LEFT, y(10.0**decade), _RIGHT, y(10.0**decade))
        yield drawing.text(_LEFT - 6, y(10.0**decade) + 4, time(10.0**decade), anchor="end", kind="small")
    for size in sizes:
        yield drawing.text(x(size), _TOP + _HEIGHT + 18, f"{size:,}", anchor="middle", kind="small")
    labels: list[float] = []
    for row in found:
        if row.name not in _DRAWN:
            continue
        colour, name = _DRAWN[row.name]
        points = [(x(size), y(each)) for size, each in zip(sizes, row.seconds, strict=True) if math.isfinite(each)]
        yield drawing.path(points, colour)
        at = points[-1][1] + 4 if points else _TOP + 4
        while any(abs(at - other) < 16 for other in labels):
            at += 4
        labels.append(at)
        yield drawing.label(_RIGHT + 10, at, name if len(points) == len(sizes) else f"{name}; then behind", colour)


HEIGHT = _TOP + _HEIGHT + 30
