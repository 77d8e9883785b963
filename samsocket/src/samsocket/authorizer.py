"""The Lambda REQUEST authorizer of a `$connect` route.

Source: docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html; the statuses are
those of …/supported-gateway-response-types.html.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from samsocket.api import INTEGRATION_TIMEOUT
from samsocket.errors import FunctionFailedError, IntegrationError, RefusedError
from samsocket.events import authorizer_event

if TYPE_CHECKING:
    from samsocket.api import Authorizer
    from samsocket.emulator import Emulator
    from samsocket.events import Handshake

_logger = logging.getLogger(__name__)

_INVOKE: Final = "execute-api:Invoke"


async def authorize(
    emulator: Emulator, authorizer: Authorizer, handshake: Handshake, method_arn: str
) -> dict[str, Any]:
    """Ask the authorizer, and return what it adds to each event's `requestContext.authorizer`.

    Raises:
        RefusedError: 401 for a missing identity source or `Unauthorized`, 403 for a policy that does not allow, 500 for
            an authorizer that fails.
    """
    if not all(_present(source, handshake) for source in authorizer.identity_sources):
        raise RefusedError(401, "Unauthorized")
    event = authorizer_event(handshake, method_arn)
    try:
        answer = await emulator.invoke(authorizer.function, event, seconds=INTEGRATION_TIMEOUT)
    except FunctionFailedError as error:
        if '"errorMessage": "Unauthorized"' in str(error) or '"errorMessage":"Unauthorized"' in str(error):
            raise RefusedError(401, "Unauthorized") from error
        _logger.warning("authorizer failed: %s", error)
        raise RefusedError(500, "Internal server error") from error
    except IntegrationError as error:
        _logger.warning("authorizer failed: %s", error)
        raise RefusedError(500, "Internal server error") from error
    if not isinstance(answer, Mapping) or not isinstance(answer.get("policyDocument"), Mapping):
        _logger.warning("authorizer %s returned no policyDocument", authorizer.function)
        raise RefusedError(500, "Internal server error")
    if not allows(answer["policyDocument"], method_arn):
        raise RefusedError(403, "Forbidden")
    context = {name: _text(value) for name, value in (answer.get("context") or {}).items()}
    return {"principalId": str(answer.get("principalId", "")), **context}


def allows(policy: Mapping[str, Any], method_arn: str) -> bool:
    """Return whether a policy document lets `execute-api:Invoke` through; a Deny wins."""
    statements = policy.get("Statement") or []
    effects = {
        statement.get("Effect")
        for statement in (statements if isinstance(statements, list) else [statements])
        if _matches(statement.get("Action"), _INVOKE) and _matches(statement.get("Resource"), method_arn)
    }
    return "Allow" in effects and "Deny" not in effects


def _matches(patterns: Any, value: str) -> bool:
    """IAM's wildcards: `*` for any characters, `?` for one."""
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in str(pattern))
        if re.fullmatch(expression, value, re.DOTALL):
            return True
    return False


def _present(source: str, handshake: Handshake) -> bool:
    """Return whether an identity source such as `route.request.querystring.token` has a value."""
    place, _, name = source.removeprefix("route.request.").partition(".")
    match place:
        case "header":
            return any(key.lower() == name.lower() and any(values) for key, values in handshake.headers.items())
        case "querystring":
            return any(handshake.query.get(name, []))
        case "stageVariables":
            return bool(handshake.stage_variables.get(name))
    return True


def _text(value: Any) -> Any:
    """Return a context value as later events carry it: `$context.authorizer.property` is the stringified value."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)
