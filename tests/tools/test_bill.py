"""docs/cost.md has the comparison that tools/bill.py makes from what is measured."""

from __future__ import annotations

from operate.cost import read
from operate.cost_clients import Market
from operate.cost_compare import rows
from tools import bill, marks


def test_the_page_has_what_the_generator_prints() -> None:
    page = bill.PATH.read_text(encoding="utf-8")
    assert marks.printed(page, bill.PROGRAM) == bill.section(read()), "python -m tools.bill writes it anew"


def test_the_picture_is_what_the_generator_draws() -> None:
    found = rows(read(), Market())
    drawn = bill.PICTURE.read_text(encoding="utf-8")
    assert all(part in drawn for part in bill.picture(found)), "python -m tools.bill draws it anew"
