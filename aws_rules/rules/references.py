"""References: every reference has a target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import references


@rule(
    "what-is-referred-to-is-there",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-condition.html",
)
def what_is_referred_to_is_there(case: Case) -> Iterator[Broken]:
    """Nothing refers to a resource that the conditions leave out, which CloudFormation would refuse."""
    stack = case.stack
    places: dict[str, Any] = {name: [each.properties, each.attributes] for name, each in stack.resources.items()}
    for name, value in (places | {f"Outputs.{name}": value for name, value in stack.outputs.items()}).items():
        for missing in sorted({other for other, _ in references(value) if other not in stack.resources}):
            yield Broken(name, "Ref or GetAtt", f"refers to {missing}, which is not made")
    for name, resource in stack.resources.items():
        for other in resource.depends_on:
            if other not in stack.template["Resources"]:
                yield Broken(name, "DependsOn", f"names {other}, which is in no template")
