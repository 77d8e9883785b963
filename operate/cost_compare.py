"""The same day of a marketplace on our service and on others: tables for docs/cost.md and `realtime cost --compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from operate.cost import DAYS, PRICES, Cost
from operate.cost_clients import (
    DOCUMENTED,
    Market,
    floor,
    is_deliverable,
    month,
    own,
    total,
    watch_writes,
)
from operate.cost_rivals import rivals

SIZES = (1_000, 10_000, 100_000)
"""Users a day."""
OURS = "Listener Realtime, our own client"
GOAL = 1.15
"""What our own client's day should cost at most, to API Gateway's part of it."""


@dataclass(frozen=True)
class Row:
    """A service, and what it takes a month for each size; None if no plan carries it."""

    name: str
    dollars: list[float | None]
    note: str = ""


def rows(measured: Mapping[str, Cost], market: Market) -> list[Row]:
    """Return a row for each service."""
    markets = [replace(market, users=size) for size in SIZES]

    found = [Row(OURS, [total(month(measured, each, own())) for each in markets], "as measured")]
    least: list[float | None] = [floor(measured, each, own()) for each in markets]
    found.append(Row("API Gateway's part of it, the floor", least, "messages and connection minutes alone"))
    crowd = [total(month(measured, each, DOCUMENTED)) if is_deliverable(each, DOCUMENTED) else None for each in markets]
    found.append(Row("Listener Realtime, documented clients", crowd, "four sockets, a ping each 30 s; hear everybody"))
    found += [Row(each.name, [each.dollars(market) for market in markets], each.lacks) for each in rivals(measured)]
    return found


def dollars(value: float | None) -> str:
    """Return a price as text."""
    return "none" if value is None else f"${value:,.2f}" if value < 100 else f"${value:,.0f}"


def table(measured: Mapping[str, Cost], market: Market) -> str:
    """Return the comparison, in Markdown."""
    sizes = " | ".join(f"{size:,} users" for size in SIZES)
    out = [f"| a month | {sizes} | what it lacks, or what it is |", f"| --- |{' ---: |' * len(SIZES)} --- |"]
    out += [
        f"| {row.name} | {' | '.join(dollars(each) for each in row.dollars)} | {row.note} |"
        for row in rows(measured, market)
    ]
    return "\n".join(out)


def above_the_floor(measured: Mapping[str, Cost], market: Market) -> str:
    """Return what our own client's month is made of, in Markdown, and each part's ratio to the floor."""
    least = floor(measured, market, own())
    watching = watch_writes(measured, market) * market.users * market.sessions * DAYS * PRICES["writes"] / 1e6
    out = ["| part | a month | of the floor |", "| --- | ---: | ---: |"]
    for line in month(measured, market, own()):
        if line.what == "DynamoDB write units":
            out.append(_part("DynamoDB write units of `watch`", watching, least))
            out.append(_part("DynamoDB write units of all else", line.dollars - watching, least))
        else:
            out.append(_part(line.what, line.dollars, least))
    out.append(_part("all", total(month(measured, market, own())), least))
    return "\n".join(out)


def _part(name: str, price: float, least: float) -> str:
    return f"| {name} | {dollars(price)} | {price / least:.2f} |"


def by_length(measured: Mapping[str, Cost], market: Market) -> str:
    """Return how the ratio to the floor depends on the length of sessions, and on what `watch` writes."""
    free = {**measured, "watching_begin": measured["one_begin"], "watching_end": measured["one_end"]}
    out = [
        "| sessions a day | all, to the floor | the same if `watch` wrote nothing | goal |",
        "| --- | ---: | ---: | ---: |",
    ]
    for sessions, minutes in ((4, 30), (2, 120), (1, 480)):
        each = replace(market, sessions=sessions, minutes=minutes)
        ratios = [total(month(used, each, own())) / floor(used, each, own()) for used in (measured, free)]
        out.append(f"| {sessions} × {minutes} min | {ratios[0]:.2f} | {ratios[1]:.2f} | {GOAL} |")
    return "\n".join(out)


def sources(measured: Mapping[str, Cost]) -> str:
    """Return where the rivals' prices stand, in Markdown."""
    out = ["| service | counted | prices from |", "| --- | --- | --- |"]
    out += [f"| {each.name} | {each.counts} | {each.source} |" for each in rivals(measured)]
    return "\n".join(out)


def verdict(measured: Mapping[str, Cost], market: Market) -> Iterator[str]:
    """Say for each size where our own client's day stands: above which rivals, and below which."""
    found = rows(measured, market)
    ours = next(row for row in found if row.name == OURS)
    names = {each.name for each in rivals(measured)}
    for index, size in enumerate(SIZES):
        mine = ours.dollars[index] or 0.0
        prices = {row.name: row.dollars[index] for row in found if row.name in names}
        cheaper = [name for name, price in prices.items() if price is not None and price < mine]
        yield f"- {size:,} users: ours is {dollars(mine)}. Cheaper: {', '.join(cheaper) or 'nobody'}."
