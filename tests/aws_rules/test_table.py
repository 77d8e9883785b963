"""docs/aws-rules.md has one row for every rule, with its source and the faults that break it, and no other rows."""

from __future__ import annotations

import re

from aws_rules.documents import TEMPLATE, parsed
from aws_rules.parameters import sets
from aws_rules.rules import RULES
from tests.aws_rules.breaking import BREAKINGS

PAGE = (TEMPLATE.parent / "docs" / "aws-rules.md").read_text(encoding="utf-8")


def rows(first: str) -> list[str]:
    """The rows of the tables whose first column has this name."""
    found: list[str] = []
    wanted = False
    for line in PAGE.splitlines():
        if line.startswith(f"| {first} |"):
            wanted = True
        elif not line.startswith("|"):
            wanted = False
        elif wanted and not line.startswith("| ---"):
            found.append(line)
    return found


def expected(name: str) -> str:
    """A rule's row: its demand, its source, and the faults of the template that it finds."""
    faults = "; ".join(breaking.what for breaking in BREAKINGS if breaking.rule == name)
    return f"| `{name}` | {RULES[name].meaning} | {RULES[name].source} | {faults} |"


def test_every_rule_has_its_row_and_every_row_its_rule() -> None:
    assert sorted(rows("rule")) == sorted(expected(name) for name in RULES)


def test_the_example_of_a_finding_has_the_number_of_rules() -> None:
    assert f" resources, {len(RULES)} rules and cfn-lint: " in PAGE


def test_every_rule_has_a_sentence_and_a_source() -> None:
    for rule in RULES.values():
        assert re.fullmatch(r"[A-Z][^\n]*\.", rule.meaning), rule.name
        assert re.fullmatch(r"https://(docs\.aws\.amazon\.com|aws\.amazon\.com|github\.com)/\S+", rule.source), (
            rule.name
        )


def test_every_set_of_parameters_has_its_row() -> None:
    named = [row.split("|")[1].strip() for row in rows("set")]
    assert named == [chosen.name for chosen in sets(parsed(TEMPLATE.read_text(encoding="utf-8")))]


def test_the_page_names_each_cfn_lint_rule_that_a_breaking_shows() -> None:
    for breaking in BREAKINGS:
        if breaking.rule.startswith("cfn-lint"):
            assert breaking.rule.removeprefix("cfn-lint ") in PAGE
