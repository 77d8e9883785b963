"""`python -m aws_rules`: check template.yaml, one line for each set of parameters."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

from samtranslator.model.exceptions import InvalidDocumentException

from aws_rules.documents import TEMPLATE, parsed
from aws_rules.judge import by_linter, by_rules
from aws_rules.parameters import ParameterSet, sets
from aws_rules.rules import RULES, Case


def verdict(chosen: ParameterSet) -> tuple[str, list[str]]:
    """A line about one set of parameters, and one for each finding."""
    document = parsed(TEMPLATE.read_text(encoding="utf-8"))
    try:
        resources = len(Case(document, chosen).stack.resources)
        found = [str(finding) for judge in (by_rules, by_linter) for finding in judge(document, chosen)]
    except InvalidDocumentException as error:
        return f"{chosen.name}: ✗ SAM refuses the template", [each.message for each in error.causes]
    result = f"✗ {len(found)} found" if found else "✓"
    return f"{chosen.name}: {resources} resources, {len(RULES)} rules and cfn-lint: {result}", found


def main() -> int:
    """Print the findings, and return 1 if there are any."""
    broken = False
    with ProcessPoolExecutor() as pool:
        for line, found in pool.map(verdict, sets(parsed(TEMPLATE.read_text(encoding="utf-8")))):
            sys.stdout.writelines(f"{text}\n" for text in (line, *(f"  {each}" for each in found)))
            broken = broken or bool(found)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
