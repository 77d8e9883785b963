"""Each number of docs/client-behaviour.md has a test, which is played with both clients."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = re.compile(r"^async def test_b(\d\d)_\w+\(\s*scene: Scene", re.MULTILINE)
NUMBERS = re.compile(r"^- \*\*B(\d\d)\*\* ", re.MULTILINE)


def test_each_number_has_a_test_and_each_test_a_number() -> None:
    stated = NUMBERS.findall((ROOT / "docs" / "client-behaviour.md").read_text("utf-8"))
    assert stated == [f"{number:02}" for number in range(1, len(stated) + 1)]
    assert len(stated) > 50
    modules = sorted((ROOT / "tests" / "clients" / "behaviour").glob("test_*.py"))
    tested = {number for module in modules for number in TESTS.findall(module.read_text("utf-8"))}
    assert tested == set(stated)
