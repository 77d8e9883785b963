"""The bill of the same day of a marketplace on our service and on others: the section of docs/cost.md, and its picture.

It measures nothing: it computes from what `python -m tests.support.costs` measured, and from price lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from operate.cost import Cost, read
from operate.cost_clients import Market
from operate.cost_compare import (
    OURS,
    SIZES,
    Row,
    above_the_floor,
    by_length,
    dollars,
    rows,
    sources,
    table,
    verdict,
)
from operate.state import ROOT
from tools import drawing, marks

PATH, PICTURE = ROOT / "docs" / "cost.md", ROOT / "docs" / "cost.svg"
PROGRAM = "python -m tools.bill"
_NAMES = 300  # px


def section(measured: Mapping[str, Cost]) -> str:
    """Return what stands between the marks of docs/cost.md."""
    market = Market()
    day = (
        f"A user's day: {market.sessions:g} sessions of {market.minutes:g} minutes, {market.watched:g} listeners on "
        f"the screen, {market.calls:g} calls, {market.notifications:g} notifications. One user in "
        f"{1 / market.listeners:g} is a listener. Each change of a listener goes to {market.watchers:.1f} clients."
    )
    parts = [
        day,
        table(measured, market),
        "\n".join(verdict(measured, market)),
        f"What our own client's month is made of, with {market.users:,.0f} users:",
        above_the_floor(measured, market),
        "The longer a session, the less its beginning and its end weigh:",
        by_length(measured, market),
        sources(measured),
    ]
    return "\n\n".join(parts)


def picture(found: list[Row]) -> Iterator[str]:
    """Yield the bars, one group for each size; each group has a scale of its own."""
    top = 0.0
    for index, size in enumerate(SIZES):
        bars = [(row.name, row.dollars[index]) for row in found]
        known = sorted(value for _, value in bars if value is not None)
        longest = known[-2] * 1.3 if known[-1] > 4 * known[-2] else known[-1]  # one that is far out is cut off
        yield drawing.text(0, top + 18, f"{size:,} users: dollars a month", kind="title")
        for row, (name, value) in enumerate(bars):
            y = top + 30 + row * 22
            width = 0.0 if value is None else min(1.0, value / longest) * (drawing.WIDTH - _NAMES - 100)
            words = "beyond the quota or every plan" if value is None else dollars(value)
            yield drawing.text(_NAMES - 8, y + 13, name, anchor="end")
            if value is not None:
                yield drawing.bar(_NAMES, y, width, "ours" if name.startswith(OURS) else "")
            yield drawing.text(_NAMES + width + 6, y + 13, words)
        top += 50 + len(bars) * 22


def height(found: list[Row]) -> float:
    """Return the picture's height in px."""
    return len(SIZES) * (50 + len(found) * 22)


def write() -> str:
    """Write the section and the picture; returns the table."""
    measured = read()
    marks.write(PATH, PROGRAM, section(measured))
    found = rows(measured, Market())
    drawing.write(PICTURE, picture(found), height(found))
    return table(measured, Market())


if __name__ == "__main__":
    print(write())
