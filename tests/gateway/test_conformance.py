"""docs/conformance.md names tests that exist, and every row of it a source and a test."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE.parents[1] / "docs" / "conformance.md").read_text()
NAMED = set(re.findall(r"`(test_\w+\.py::test_\w+)`", TABLE))
DEFINED = {
    f"{path.name}::{name}"
    for path in HERE.glob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


def test_every_test_that_the_table_names_exists() -> None:
    assert sorted(NAMED - DEFINED) == []


def test_every_row_names_a_source_and_a_test() -> None:
    rows = [line.split(" | ") for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    behaviours = [row for row in rows if row[0] != "| behaviour"]
    assert len(behaviours) > 40
    assert [row[0] for row in behaviours if len(row) != 3 or not row[1].strip() or "::test_" not in row[2]] == []
