"""README.md says what was measured last."""

from __future__ import annotations

from bench import results, summary


def test_the_figures_of_the_readme_are_those_that_were_measured() -> None:
    page = summary.PATH.read_text(encoding="utf-8")
    assert summary.printed(page) == summary.table(results.load()), "make bench writes them anew"
