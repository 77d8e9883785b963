"""Physical names: one account and Region can have two stacks of this template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.schemas import naming
from aws_rules.stacks import as_list, references

_DOCS = "https://docs.aws.amazon.com/"
_WITHIN: Final = frozenset({"ApiId", "HostedZoneId"})  # where a name is to be the only one of its kind


def given_parameters(case: Case, value: Any) -> set[str]:
    """The parameters that somebody gave a value, and that a part of the template depends on."""
    conditions = case.stack.template.get("Conditions", {})
    text = str(value)
    named = {name for name in case.chosen.given if f"'{name}'" in text or f"${{{name}}}" in text}
    deciding = {name for name in conditions if f"'{name}'" in text}
    return named.union(*(given_parameters(case, conditions[name]) for name in deciding))


@rule("names-are-the-stacks-own", _DOCS + "AWSCloudFormation/latest/TemplateReference/aws-properties-name.html")
def names_are_the_stacks_own(case: Case) -> Iterator[Broken]:
    """No physical name is the same in two stacks, unless their parameters give the same one to both."""
    for logical_id, resource in case.stack.resources.items():
        twin = case.twin.resources[logical_id]
        own = naming(resource.type) & resource.properties.keys()
        if any(True for name in own | _WITHIN for _ in references(resource.properties.get(name))):
            continue  # it is a part of another resource, whose name is looked at
        for name in sorted(own):
            written = case.stack.template["Resources"][logical_id]["Properties"][name]
            if resource.properties[name] == twin.properties[name] and not given_parameters(case, written):
                yield Broken(logical_id, name, f"a second stack would have the name {resource.properties[name]!r}, too")


@rule("rights-are-on-the-stacks-own", _DOCS + "IAM/latest/UserGuide/best-practices.html#grant-least-privilege")
def rights_are_on_the_stacks_own(case: Case) -> Iterator[Broken]:
    """No function has rights on a thing with a fixed name, which two stacks would share, such as a secret."""
    for role in case.stack.of_type("AWS::IAM::Role"):
        written = case.stack.template["Resources"][role.logical_id]["Properties"].get("Policies", [])
        twin = case.twin.resources[role.logical_id].properties.get("Policies", [])
        for policy, other in zip(role.properties.get("Policies", []), twin, strict=True):
            ours = policy["PolicyDocument"]["Statement"]
            theirs = other["PolicyDocument"]["Statement"]
            for one, two in zip(ours, theirs, strict=True):
                pairs = zip(as_list(one["Resource"]), as_list(two["Resource"]), strict=True)
                shared = [str(a) for a, b in pairs if a == b and not any(True for _ in references(a))]
                if shared and not given_parameters(case, written):
                    yield Broken(role.logical_id, "Policies", f"a second stack has rights on {min(shared)}, too")


@rule("a-replacement-has-another-name", _DOCS + "AWSCloudFormation/latest/TemplateReference/aws-properties-name.html")
def a_replacement_has_another_name(case: Case) -> Iterator[Broken]:
    """Nothing with a given name is replaced under that name: the new one is made while the old one still exists."""
    for update in case.updates:
        for logical_id in update.renewed & update.before.resources.keys():
            resource = update.after.resources[logical_id]
            own = list(naming(resource.type) & resource.properties.keys())
            literal = [name for name in own if not any(True for _ in references(resource.properties[name]))]
            replaced = update.what != f"{logical_id} replaced"  # which stands for another text of the template
            if (
                literal
                and len(literal) == len(own)
                and replaced
                and not update.differs(logical_id, frozenset(own) | _WITHIN)
            ):
                yield Broken(logical_id, literal[0], f"{update.what}: is replaced, and the name is taken")
