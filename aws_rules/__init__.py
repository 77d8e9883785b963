"""A judge of template.yaml that is as strict as AWS: `python -m aws_rules`, or `make check-template`.

Emulators forgive what AWS refuses, so a stack that works on one may be one that AWS never creates. Here the template is
transformed as AWS does it, once for each set of parameters that matters, and what comes out is held to AWS's own rules.

- `documents`: the template's text, and the SAM transform of it, without network or account
- `parameters`: the sets of parameter values, and whether the template takes them
- `stacks`: what one set makes of the template: conditions decided, functions resolved, names at their longest
- `schemas`: CloudFormation's resource schemas, as cfn-lint ships them
- `updates`: what CloudFormation makes anew when a value or a resource changes
- `linting`: cfn-lint, on each of these stacks
- `rules`: what no linter knows, one small function a rule, each with its source
- `judge`: all of it, over all sets

It is no part of what is deployed, nor of the embedded stack.
"""
