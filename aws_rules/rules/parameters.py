"""The values that a stack is deployed with."""

from __future__ import annotations

from collections.abc import Iterator

from aws_rules.parameters import refused
from aws_rules.rules.registry import Broken, Case, rule

_DOCS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/"


@rule("parameters-are-accepted", _DOCS + "parameters-section-structure.html")
def parameters_are_accepted(case: Case) -> Iterator[Broken]:
    """Every value that a stack is deployed with, samconfig.toml's among them, is one that its parameter allows."""
    for name, why in refused(case.document, case.stack.values):
        yield Broken(name, "Parameters", why)


@rule("assertions-hold", _DOCS + "rules-section-structure.html")
def assertions_hold(case: Case) -> Iterator[Broken]:
    """The template's own Rules accept every set of values that it offers."""
    for name, body in case.document.get("Rules", {}).items():
        if "RuleCondition" in body and not case.stack.holds(body["RuleCondition"]):
            continue
        for assertion in body["Assertions"]:
            if not case.stack.holds(assertion["Assert"]):
                yield Broken(name, "Rules", assertion["AssertDescription"])
