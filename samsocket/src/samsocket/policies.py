"""IAM's policies, as far as the gateway judges them itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_API_GATEWAY: Final = "apigateway.amazonaws.com"
_INVOKE_FUNCTION: Final = "lambda:InvokeFunction"


def names(statement: Mapping[str, Any], element: str, value: str) -> bool:
    """Return whether a statement's `Action` or `Resource` names a value, or its `NotAction` or `NotResource` does not.

    Actions have no case.
    """
    flags = re.IGNORECASE if element == "Action" else re.NOFLAG
    if element in statement:
        return _matches(statement[element], value, flags)
    return f"Not{element}" in statement and not _matches(statement[f"Not{element}"], value, flags)


def _matches(patterns: Any, value: str, flags: re.RegexFlag = re.NOFLAG) -> bool:
    """Return whether a value has one of IAM's patterns: `*` for any characters, `?` for one."""
    for pattern in _as_list(patterns):
        expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in str(pattern))
        if re.fullmatch(expression, value, flags | re.DOTALL):
            return True
    return False


def permits(policy: Mapping[str, Any], source_arn: str) -> bool:
    """Return whether a function's policy lets API Gateway invoke it for a route or an authorizer; a Deny wins.

    Conditions other than those on `AWS:SourceArn` and `AWS:SourceAccount` count as met.
    """
    effects = {
        statement.get("Effect")
        for statement in _as_list(policy.get("Statement") or [])
        if _is_for_api_gateway(statement.get("Principal"))
        and names(statement, "Action", _INVOKE_FUNCTION)
        and _is_met(statement.get("Condition") or {}, source_arn)
    }
    return "Allow" in effects and "Deny" not in effects


def _is_for_api_gateway(principal: Any) -> bool:
    if isinstance(principal, Mapping):
        return _API_GATEWAY in _as_list(principal.get("Service", [])) or "*" in _as_list(principal.get("AWS", []))
    return bool(principal == "*")


def _is_met(conditions: Mapping[str, Any], source_arn: str) -> bool:
    account = source_arn.split(":")[4]
    for tests in conditions.values():
        for key, patterns in tests.items():
            known = {"aws:sourcearn": source_arn, "aws:sourceaccount": account}.get(key.lower())
            if known is not None and not _matches(patterns, known):
                return False
    return True


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
