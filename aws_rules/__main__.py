"""`python -m aws_rules`: judge template.yaml, one line for each set of parameters."""

from __future__ import annotations

import sys

from aws_rules.documents import TEMPLATE, parsed
from aws_rules.judge import by_linter, by_rules
from aws_rules.parameters import sets
from aws_rules.rules import RULES, Case


def main() -> int:
    """Print what was found, and return 1 where something was."""
    document = parsed(TEMPLATE.read_text(encoding="utf-8"))
    broken = 0
    for chosen in sets(document):
        found = [*by_rules(document, chosen), *by_linter(document, chosen)]
        resources = len(Case(document, chosen).stack.resources)
        verdict = "✓" if not found else f"✗ {len(found)} found"
        sys.stdout.write(f"{chosen.name}: {resources} resources, {len(RULES)} rules and cfn-lint: {verdict}\n")
        sys.stdout.writelines(f"  {finding}\n" for finding in found)
        broken += len(found)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
