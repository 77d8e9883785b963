"""The prose of every Markdown file is at most 100 columns wide, and its links lead somewhere.

Only text that cannot be broken may be wider: rows of tables, code blocks, text that a generator writes between its two
marks, and a line with one word, such as a link to a long address. docs/api.md is a contract that others wrote, and
stays unchanged.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 100
AS_GIVEN = {"docs/api.md"}

_BEGIN, _END = "<!-- measured:", "<!-- end of what is measured -->"
_MARK = re.compile(r"^(?:[-*] |\d+\. |\[[^\]]+\]: )?")  # of a list's item, a footnote or a link's address


def pages() -> list[str]:
    """The Markdown files of the repository, without those that others wrote."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted({name for name in listed if name and (ROOT / name).exists()} - AS_GIVEN)


def too_wide(text: str) -> Iterator[int]:
    """Yield the numbers of the lines of prose that are too wide."""
    is_code = is_generated = False
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.strip()
        if words.startswith("```"):
            is_code = not is_code
        elif words.startswith((_BEGIN, _END)):
            is_generated = words.startswith(_BEGIN)
        is_exempt = is_code or is_generated or words.startswith("|") or " " not in _MARK.sub("", words, count=1)
        if len(line) > COLUMNS and not is_exempt:
            yield number


@pytest.mark.parametrize("page", pages())
def test_prose_is_at_most_100_columns_wide(page: str) -> None:
    assert list(too_wide((ROOT / page).read_text(encoding="utf-8"))) == [], "lines to wrap"


def test_a_long_line_of_prose_is_found_wherever_it_stands() -> None:
    long = "word " * 20 + "word"
    code, table = f"```sh\n{long}\n```", f"| {long} |"
    generated = f"{_BEGIN} by a command -->\n{long}\n{_END}"
    link = f"- [page](https://example.com/{'x' * 100})"
    assert list(too_wide("\n".join([long, code, table, generated, link, f"- {long}", f"# {long}"]))) == [1, 10, 11]


def headings(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: str) -> None:
    here = ROOT / page
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", here.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = here.parent / file if file else here
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target.read_text(encoding="utf-8")), link


def test_the_list_of_decisions_has_each_with_its_own_heading() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(
        r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.M
    )
    pages = [(page.name, page.read_text(encoding="utf-8").partition("\n")[0]) for page in sorted(folder.glob("0*.md"))]
    assert [(file, f"# {number} {title}") for number, file, title in listed] == pages
