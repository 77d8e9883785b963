"""docs/conformance.md names tests that exist, and each of its rows has a source and a footnote with tests."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE.parents[1] / "docs" / "conformance.md").read_text()
NAMED = set(re.findall(r"`(test_\w+\.py::test_\w+)`", TABLE))
FOOTNOTES = dict(re.findall(r"^\[\^(\d+)\]: (.+(?:\n    .+)*)", TABLE, re.MULTILINE))
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
    numbers = [row[2].removeprefix("[^").removesuffix("] |") for row in behaviours if len(row) == 3]
    assert numbers == [str(number) for number in range(1, len(behaviours) + 1)] == list(FOOTNOTES)
    assert [row[0] for row in behaviours if not row[1].strip()] == []
    assert [number for number, tests in FOOTNOTES.items() if "::test_" not in tests] == []


def test_every_row_is_documented_seen_or_called_a_guess() -> None:
    sources = [line.split(" | ")[1] for line in TABLE.splitlines() if re.search(r" \| \[\^\d+\] \|$", line)]
    documented = ("[", "RFC 6455", "botocore's model", "CloudFormation's reference", "repost.aws/knowledge-center/")
    assert [source for source in sources if not source.startswith((*documented, "*"))] == []


def test_every_source_that_a_row_links_has_its_address() -> None:
    linked = set(re.findall(r"(?<!\w)\[([^\]^]+)\](?![(:])", TABLE.split("## Handshake")[1].split("## Not known")[0]))
    assert linked == set(re.findall(r"^\[([^\]^]+)\]: https://", TABLE, re.MULTILINE))
