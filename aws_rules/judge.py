"""The whole check: every rule and cfn-lint, over every set of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aws_rules import linting
from aws_rules.documents import Document
from aws_rules.parameters import ParameterSet
from aws_rules.rules import RULES, Broken, Case


@dataclass(frozen=True)
class Finding:
    """One broken rule: which one, where, how, and the rule's source."""

    rule: str
    source: str
    where: Broken

    def __str__(self) -> str:
        """One line, for the person who repairs the template."""
        return f"{self.where.resource}.{self.where.place}: {self.where.message} [{self.rule}, {self.source}]"


def by_rules(document: Document, chosen: ParameterSet, *names: str) -> Iterator[Finding]:
    """The findings of our own rules: of all, or of those named."""
    case = Case(document, chosen)
    for rule in (RULES[name] for name in names or RULES):
        for broken in rule.check(case):
            yield Finding(rule.name, rule.source, broken)


def by_linter(document: Document, chosen: ParameterSet) -> Iterator[Finding]:
    """The findings of cfn-lint in the stack as CloudFormation reads it; in thorough sets also with plausible values."""
    stack = Case(document, chosen).stack
    forms = (False, True) if chosen.thorough else (False,)
    found = {pair for concrete in forms for pair in linting.linted(stack, concrete=concrete)}
    for check, broken in sorted(found, key=str):
        yield Finding(f"cfn-lint {check}", linting.SOURCE, broken)
