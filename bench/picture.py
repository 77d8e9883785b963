"""Draws bench/results.json as docs/benchmarks.svg: bars, in colours that suit light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from tools import results

PATH = results.PATH.parents[1] / "docs" / "benchmarks.svg"
_WIDTH, _NAMES, _BAR, _GAP = 720, 230, 18, 8  # px


@dataclass(frozen=True)
class Chart:
    """A group of bars: each has a key of the results, and a name to display."""

    title: str
    bars: Mapping[str, str]
    unit: str


CHARTS = (
    Chart(
        "Signed posts a second over TLS on one core (wrk signs nothing)",
        {
            "engine.boto3": "boto3",
            "engine.boto3_threads": "boto3, 32 threads",
            "engine.aiobotocore": "aiobotocore, 32 at once",
            "engine.aiohttp": "aiohttp, 32 at once",
            "engine.ours": "Listener Realtime",
            "engine.wrk": "wrk",
        },
        "/s",
    ),
    Chart(
        "One event through the real handler: connections a second of one core's time",
        {f"handler.{size}": f"to {size:,} connections" for size in (1_000, 10_000, 100_000)},
        "/s",
    ),
    Chart(
        "CPU of a cold start, a bare boto3 client of DynamoDB being 1",
        {
            f"cold_start.{function}": function
            for function in (
                "connect",
                "disconnect",
                "default",
                "ingest",
                "announce",
                "broadcast",
                "deadlines",
                "sweep",
            )
        },
        "",
    ),
    Chart(
        "CPU of a warm invocation, the bare boto3 calls that it makes being 1",
        {f"warm.{route}": route for route in ("ping", "connect", "disconnect")},
        "",
    ),
    Chart(
        "From PutEvents to the client on the embedded stack, p50",
        {"end_to_end.bare_p50_ms": "a queue and two bare functions", "end_to_end.ours_p50_ms": "Listener Realtime"},
        " ms",
    ),
)


def draw(path: Path = PATH) -> None:
    """Draw every chart that has a measured figure."""
    figures = results.load()
    parts: list[str] = []
    top = 0
    for chart in CHARTS:
        bars = [(name, figures[key]) for key, name in chart.bars.items() if key in figures]
        if bars:
            parts.extend(_chart(chart, bars, top))
            top += 44 + len(bars) * (_BAR + _GAP)
    style = "text{font:13px system-ui,sans-serif;fill:#888}.title{font-weight:600}rect{fill:#8aa}.ours{fill:#2a7}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}">'
    path.write_text("\n".join([svg, f"<style>{style}</style>", *parts, "</svg>", ""]))


def _chart(chart: Chart, bars: list[tuple[str, float]], top: int) -> Iterator[str]:
    yield f'<text class="title" x="0" y="{top + 20}">{escape(chart.title)}</text>'
    longest = max(value for _, value in bars)
    for row, (name, value) in enumerate(bars):
        y = top + 34 + row * (_BAR + _GAP)
        width = max(1, round(value / longest * (_WIDTH - _NAMES - 90)))
        kind = ' class="ours"' if name == "Listener Realtime" else ""
        yield f'<text x="{_NAMES - 10}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect{kind} x="{_NAMES}" y="{y}" width="{width}" height="{_BAR}" rx="2"/>'
        yield f'<text x="{_NAMES + width + 8}" y="{y + 14}">{_number(value)}{chart.unit}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
