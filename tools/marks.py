"""What programs write into pages: it stands between two comments of Markdown, of which the first names the program."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_END: Final = "<!-- end of what is measured -->"


def printed(page: str, program: str) -> str:
    """Return what a program wrote into a page."""
    begin, end = _bounds(page, program)
    return page[begin:end].strip()


def write(path: Path, program: str, text: str) -> None:
    """Write a page anew, with another text of a program."""
    page = path.read_text(encoding="utf-8")
    begin, end = _bounds(page, program)
    path.write_text(f"{page[:begin]}\n\n{text}\n\n{page[end:]}", encoding="utf-8")


def _bounds(page: str, program: str) -> tuple[int, int]:
    mark = f"<!-- measured: {program} writes what follows -->"
    begin = page.index(mark) + len(mark)
    return begin, page.index(_END, begin)  # of another program's text, which stands before, the end is another
