"""README.md says what was measured last."""

from __future__ import annotations

from tools import figures, results


def test_the_figures_of_the_readme_are_those_that_were_measured() -> None:
    page = figures.PATH.read_text(encoding="utf-8")
    assert figures.printed(page) == figures.table(results.load()), "make bench writes them anew"
