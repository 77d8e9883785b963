"""Keeps what benchmarks measure in bench/results.json: one flat object of numbers, with the machine and the date.

A benchmark also shows here how far it is, if a terminal is there to show it on.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from operate.state import ROOT

PATH = ROOT / "bench" / "results.json"


def progress(text: str = "") -> None:
    """Show how far a benchmark is in the line that is there, or clear it."""
    if sys.stderr.isatty():
        print(f"\r{text:<40}" if text else f"\r{'':<40}\r", end="", file=sys.stderr, flush=True)


def load() -> dict[str, float]:
    """Return all figures measured so far."""
    return {key: value for key, value in _read().items() if isinstance(value, int | float)}


def save(group: str, figures: Mapping[str, float]) -> None:
    """Put the figures of a group in the place of its former ones, as `group.name`, and note when and on what."""
    kept = {key: value for key, value in _read().items() if not key.startswith(f"{group}.")}
    new: dict[str, object] = {f"{group}.{name}": _rounded(value) for name, value in figures.items()}
    new[f"{group}.measured"] = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}"
    PATH.write_text(json.dumps(dict(sorted({**kept, **new}.items())), indent=2) + "\n")


def machine() -> str:
    """Say what this machine is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else platform.machine()}, Python {platform.python_version()}"


def _read() -> dict[str, object]:
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def _rounded(value: float) -> float:
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
