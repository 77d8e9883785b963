"""CONTRIBUTING's list "Follow one event" matches the code: each module exists, is short, and an earlier one uses it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYER = ROOT / "layers/realtime/realtime"
LONGEST = 250  # lines, so that each is read at one sitting

READING_ORDER = [
    "functions/ingest.py",
    "ingest.py",
    "backend_events.py",
    "tables/outbox.py",
    "functions/broadcast.py",
    "broadcast.py",
    "recipients.py",
    "batch.py",
    "posting/poster.py",
    "posting/progress.py",
    "posting/http_pool.py",
]
WIRED = {
    "broadcast.py": "bootstrap.py",
    "posting/http_pool.py": "posting/api.py",
}  # given by another module
STREAM = ("tables/outbox.py", "functions/broadcast.py")  # no import leads from one to the other: a stream does


def path_of(module: str) -> Path:
    """Return the path of a module of the list."""
    return ROOT / module if module.startswith("functions/") else LAYER / module


def imported(module: str) -> set[str]:
    """Return the modules of the layer that a module imports, as the list writes them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "realtime":
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {f"{name.removeprefix('realtime.').replace('.', '/')}.py" for name in names if name.startswith("realtime.")}


def test_the_reading_order_is_the_list_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("\n## Follow one event\n")[1].split("\n## ")[0]
    assert re.findall(r"^\d+\. `([\w/.]+)`", section, re.MULTILINE) == READING_ORDER


@pytest.mark.parametrize("module", READING_ORDER)
def test_each_module_is_short_enough_to_read_at_one_sitting(module: str) -> None:
    assert len(path_of(module).read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("place", range(1, len(READING_ORDER)))
def test_each_module_is_imported_by_an_earlier_one_of_its_function_or_given_to_it(place: int) -> None:
    module = READING_ORDER[place]
    if (READING_ORDER[place - 1], module) == STREAM:
        return
    begin = max(at for at in range(place) if READING_ORDER[at].startswith("functions/"))
    leading = [WIRED[module]] if module in WIRED else READING_ORDER[begin:place]
    assert any(module in imported(earlier) for earlier in leading)
