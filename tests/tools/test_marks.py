"""What programs write into pages, between their marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import marks

END = "<!-- end of what is measured -->"
PAGE = f"""# Two

<!-- measured: a writes what follows -->

one

{END}

between

<!-- measured: b writes what follows -->

two

{END}
"""


def test_each_program_has_a_text_of_its_own() -> None:
    assert (marks.printed(PAGE, "a"), marks.printed(PAGE, "b")) == ("one", "two")


@pytest.mark.parametrize(("program", "before"), [("a", "one"), ("b", "two")])
def test_a_program_replaces_its_own_text_alone(tmp_path: Path, program: str, before: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    marks.write(path, program, "| new |")
    assert path.read_text(encoding="utf-8") == PAGE.replace(before, "| new |")


def test_a_page_without_the_mark_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    with pytest.raises(ValueError, match="substring not found"):
        marks.write(path, "c", "new")
    assert path.read_text(encoding="utf-8") == PAGE
