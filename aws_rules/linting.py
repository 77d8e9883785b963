"""Runs cfn-lint over a stack of the template, with every error and every warning that it knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from cfnlint.api import lint
from cfnlint.config import ManualArgs

from aws_rules.rules.registry import Broken
from aws_rules.stacks import Stack

SOURCE: Final = "https://github.com/aws-cloudformation/cfn-lint/blob/main/docs/rules.md"


def linted(stack: Stack, *, concrete: bool) -> Iterator[tuple[str, Broken]]:
    """The findings of cfn-lint in a stack, each with the check that found it.

    With `concrete` it sees plausible values in place of references, so that lengths and patterns count. Its
    warnings are left out then: they miss the references.
    """
    document = stack.document(concrete=concrete)
    for match in lint(json.dumps(document), config=ManualArgs(regions=[stack.region])):
        if concrete and not match.rule.id.startswith("E"):
            continue
        path = [str(part) for part in match.path or []]
        yield (
            str(match.rule.id),
            Broken(path[1] if len(path) > 1 else "Template", ".".join(path[3:]), str(match.message)),
        )
