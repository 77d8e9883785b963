"""`python -m bench [NAME …]`: run all benchmarks, or those named; keep the figures, draw and print them in the docs."""

from __future__ import annotations

import importlib
import sys

from bench import picture
from tools import bill, figures

NAMES = (
    "engine",
    "handler",
    "cold_start",
    "warm",
    "end_to_end",
    "strangers",
    "idle_clients",
    "soak",
    "stragglers",
    "budget",
    "presence",
    "sync",
    "scale_check",
    "scale",
)


def main() -> None:
    """Run the named benchmarks, or all."""
    chosen = sys.argv[1:] or NAMES
    unknown = set(chosen) - set(NAMES)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for name in chosen:
        importlib.import_module(f"bench.{name}").main()
    picture.draw()
    figures.write()
    bill.write()


main()
