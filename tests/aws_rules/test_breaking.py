"""Each rule finds its fault in a template.yaml that was broken in one way."""

from __future__ import annotations

import pytest

from aws_rules.documents import TEMPLATE, parsed
from aws_rules.judge import by_linter, by_rules
from aws_rules.parameters import sets
from aws_rules.rules import RULES
from tests.aws_rules.breaking import BREAKINGS, TAKEN_BACK, Breaking

DOCUMENT = parsed(TEMPLATE.read_text(encoding="utf-8"))
SETS = {chosen.name: chosen for chosen in sets(DOCUMENT)}


@pytest.mark.parametrize("breaking", BREAKINGS, ids=str)
def test_the_rule_names_what_was_broken(breaking: Breaking) -> None:
    broken = breaking.applied(DOCUMENT)
    chosen = {one.name: one for one in sets(broken)}[breaking.parameters]
    found = (
        by_linter(broken, chosen) if breaking.rule.startswith("cfn-lint") else by_rules(broken, chosen, breaking.rule)
    )
    named = (finding.where.resource for finding in found if finding.rule == breaking.rule)
    assert any(breaking.resource in ("*", resource) for resource in named)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_way_to_break_it(rule: str) -> None:
    assert rule in {breaking.rule for breaking in BREAKINGS}


def test_each_earlier_fault_of_the_template_is_found_if_it_comes_back() -> None:
    codes = {breaking.what.partition(":")[0] for breaking in TAKEN_BACK}
    assert codes >= {"B1", "B3", "B4", "L1", "L2", "L3", "R1", "R4", "R9", "R15"}
