"""docs/benchmarks.md and README.md have the latest measured figures."""

from __future__ import annotations

from tools import figures, marks, results


def test_the_benchmark_page_has_the_figures_that_were_measured() -> None:
    page = figures.TABLE_PATH.read_text(encoding="utf-8")
    assert marks.printed(page, figures.PROGRAM) == figures.table(results.load()), "make bench writes them anew"


def test_the_readme_has_the_main_figures_that_were_measured() -> None:
    page = figures.SENTENCE_PATH.read_text(encoding="utf-8")
    assert marks.printed(page, figures.PROGRAM) == figures.sentence(results.load()), "make bench writes them anew"


def test_the_readme_is_short_enough_to_read_at_once() -> None:
    assert len(figures.SENTENCE_PATH.read_text(encoding="utf-8").splitlines()) <= 100
