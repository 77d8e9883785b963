"""The form of a rule: a small function over one stack, with the document of AWS that states the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from aws_rules.documents import Document
from aws_rules.parameters import ParameterSet
from aws_rules.stacks import Stack
from aws_rules.updates import Update, updates


@dataclass(frozen=True)
class Broken:
    """The place where a rule is broken, and how."""

    resource: str
    place: str
    message: str


class Case:
    """One stack to check, and the facts about it that rules use."""

    def __init__(self, document: Document, chosen: ParameterSet) -> None:
        """Take a parsed template and the parameters to judge it with."""
        self.document = document
        self.chosen = chosen
        self._made: list[Update] = []

    @cached_property
    def stack(self) -> Stack:
        """The stack itself."""
        return Stack(self.document, self.chosen)

    @cached_property
    def twin(self) -> Stack:
        """A second stack of the same template and parameters, beside it in the account and Region."""
        name = f"{self.chosen.stack[:-2]}-2"
        chosen = replace(self.chosen, stack=name)
        return Stack(self.document, chosen, uuid="99999999-9999-4999-8999-999999999999")

    @property
    def updates(self) -> Iterator[Update]:
        """The possible updates of the stack. Each needs a transform, so they are made on first use and kept."""
        yield from self._made
        for made in self._updates:
            self._made.append(made)
            yield made

    @cached_property
    def _updates(self) -> Iterator[Update]:
        return updates(self.document, self.stack)


Check = Callable[[Case], Iterable[Broken]]


@dataclass(frozen=True)
class Rule:
    """One rule of AWS's, or one that follows from them."""

    name: str
    source: str
    check: Check

    @property
    def meaning(self) -> str:
        """What it demands, in a sentence."""
        return (self.check.__doc__ or "").split("\n\n")[0].strip()


RULES: Final[dict[str, Rule]] = {}


def rule(name: str, source: str) -> Callable[[Check], Check]:
    """Register a function as a rule. Its docstring's first sentence is what the rule demands."""

    def register(check: Check) -> Check:
        if name in RULES:
            raise ValueError(f"two rules are named {name}")
        RULES[name] = Rule(name, source, check)
        return check

    return register
