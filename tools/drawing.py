"""Makes pictures for the docs: text that is readable on light and on dark pages, bars and lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH = 760
_STYLE = """
text{font:13px system-ui,sans-serif;fill:#444}.title{font-weight:600}.small{font-size:11px}
rect{fill:#7a9c9c}.ours{fill:#1f9d6b}.grid{stroke:#bbb;stroke-width:.5}
.line{fill:none;stroke-width:2}
@media (prefers-color-scheme:dark){text{fill:#ccc}rect{fill:#6f9090}.ours{fill:#2fc08a}.grid{stroke:#555}}
""".strip().replace("\n", "")


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    """Return a text; `kind` is `title` or `small`."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def bar(x: float, y: float, width: float, kind: str = "") -> str:
    """Return a horizontal bar, 16 px high; `kind` is `ours`, or nothing."""
    name = f' class="{kind}"' if kind else ""
    return f'<rect{name} x="{x:.0f}" y="{y:.0f}" width="{max(1.0, width):.0f}" height="16" rx="2"/>'


def path(points: Iterable[tuple[float, float]], colour: str) -> str:
    """Return a line through points, with a dot at each; its colour suits light and dark pages."""
    found = list(points)
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in found)
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}"/>' for x, y in found)
    return f'<polyline class="line" stroke="{colour}" points="{line}"/>{dots}'


def label(x: float, y: float, words: str, colour: str) -> str:
    """Return a text in a line's colour."""
    return f'<text style="fill:{colour}" x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>'


def grid(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a thin line."""
    return f'<line class="grid" x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/>'


def write(path: Path, parts: Iterable[str], height: float) -> None:
    """Write the picture."""
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    path.write_text("\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""]), encoding="utf-8")
