"""The resources that CloudFormation replaces when a parameter, a resource or the code changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from aws_rules.documents import Document
from aws_rules.parameters import ParameterSet, sets
from aws_rules.schemas import create_only
from aws_rules.stacks import Resource, Stack, references

# Their logical ids hold a hash of their text: another text is another resource, which two of the updates stand for.
_RENAMED_BY_SAM: Final = ("AWS::Lambda::LayerVersion", "AWS::Lambda::Version")


@dataclass(frozen=True)
class Update:
    """One change of a stack: the stack before and after it, and the resources that get another physical id."""

    what: str
    before: Stack
    after: Stack
    renewed: frozenset[str]

    def differs(self, logical_id: str, names: frozenset[str] | None = None) -> bool:
        """Whether a resource's properties (or those named) have other values than before."""
        before, after = self.before.resources.get(logical_id), self.after.resources[logical_id]
        return before is None or _differs(before, after, names, self.renewed)


def _differs(before: Resource, after: Resource, names: frozenset[str] | None, renewed: frozenset[str]) -> bool:
    chosen = before.properties.keys() | after.properties.keys() if names is None else names
    return any(_changed(before.properties.get(name), after.properties.get(name), renewed) for name in chosen)


def _changed(before: Any, after: Any, renewed: frozenset[str]) -> bool:
    return bool(before != after or renewed & {name for name, _ in references(after)})


def update(what: str, before: Stack, after: Stack, *, replaced: frozenset[str] = frozenset()) -> Update:
    """Find all resources with a new physical id: new ones, and those with a change that requires replacement."""
    renewed = replaced | (after.resources.keys() - before.resources.keys())
    while True:
        more = {
            logical_id
            for logical_id, resource in after.resources.items()
            if logical_id not in renewed
            and _differs(before.resources[logical_id], resource, create_only(resource.type), renewed)
        }
        if not more:
            return Update(what, before, after, frozenset(renewed))
        renewed |= more


def others(document: Document, chosen: ParameterSet, name: str) -> Iterator[str]:
    """Some other values of a parameter: ones that it allows, a number one higher or lower, and those of other sets."""
    body = document["Parameters"][name]
    value = chosen.values(document)[name]
    if "AllowedValues" in body:
        options = [str(each) for each in body["AllowedValues"]]
    elif body["Type"] == "Number":
        number = int(float(value))
        options = [str(number + 1 if number < int(body["MaxValue"]) else number - 1)]
    else:
        options = [each.values(document)[name] for each in sets(document)]
        options += [f"{each[:-1]}y" for each in options if each]
    different = sorted({each for each in options if each != value})
    yield from different[:1] + different[1:][-1:]


def updates(document: Document, stack: Stack) -> Iterator[Update]:
    """The updates that a stack must survive: each resource replaced, other code or layer, each parameter changed."""
    chosen = stack.parameters
    for logical_id, resource in stack.resources.items():
        if resource.type not in _RENAMED_BY_SAM:
            yield update(f"{logical_id} replaced", stack, stack, replaced=frozenset({logical_id}))
    yield update("other code", stack, Stack(document, chosen, code="2"))
    yield update("another layer", stack, Stack(document, chosen, layer="2"))
    for name in document.get("Parameters", {}) if chosen.thorough else ():
        for value in others(document, chosen, name):
            after = Stack(document, replace(chosen, given={**chosen.given, name: value}))
            yield update(f"{name}={value or '(empty)'}", stack, after)
