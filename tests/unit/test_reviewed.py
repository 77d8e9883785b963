"""docs/reviewed.md answers each entry of the reviews by a test or a sentence, and what it names exists.

tests/unit/test_markdown.py holds its links.
"""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.cloudformation import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/reviewed.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [SB]\d", line)
]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_LINK = re.compile(r"\]\([\w/.-]+#[\w-]+\)")
_COMMAND = re.compile(r"`python -m ([\w.]+)[^`]*`")


@cache
def defined_in(file: str) -> set[str]:
    """The names of the tests that a module or its classes define."""
    parts = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    functions = (each.name for each in parts if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for name in functions if name.startswith("test_")}


def test_there_is_a_row_for_each_entry_in_order() -> None:
    attacks, reports = [f"S{number}" for number in range(1, 19)], [f"B{number}" for number in range(1, 22)]
    assert [row[0] for row in ROWS] == attacks + reports


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_an_entry_is_answered_by_tests_and_sentences_that_exist(row: list[str]) -> None:
    _, question, answer, shown = row
    assert question
    tests = _TEST.findall(shown)
    assert tests or _LINK.search(answer)
    assert [f"{file}::{name}" for file, name in tests if name not in defined_in(file)] == []
    rest = _COMMAND.sub("", _TEST.sub("", shown))
    assert not rest.strip(", "), f"neither a test nor a command: {rest}"
    for module in _COMMAND.findall(shown):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
