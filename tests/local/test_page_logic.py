"""The page's own logic, in Node's test runner: facts.test.mjs is the specification."""

from __future__ import annotations

from pathlib import Path

from tests.support import node


def test_the_pages_logic_does_what_its_specification_says() -> None:
    node.hold(Path(__file__).with_name("facts.test.mjs"))
