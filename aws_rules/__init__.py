"""Checks template.yaml as strictly as AWS does: `python -m aws_rules`, or `make check-template`.

Emulators accept templates that AWS refuses, so a stack that works on one may be one that AWS never creates. Therefore
this package transforms the template as AWS does, once for each set of parameters that matters, and checks the result
against AWS's own rules.

- `documents`: the template's text, and the SAM transform of it, without network or account
- `parameters`: the sets of parameter values, and whether the template takes them
- `stacks`: the stack that one set yields: conditions decided, functions resolved, names at their longest
- `schemas`: CloudFormation's resource schemas, as cfn-lint ships them
- `updates`: the resources that CloudFormation replaces when a value or a resource changes
- `linting`: cfn-lint, on each of these stacks
- `rules`: rules that no linter knows, one small function for each, with its source
- `judge`: runs all of these over all sets

The package is not deployed and is no part of the embedded stack.
"""
