"""The Lambda REQUEST authorizer of a `$connect` route.

Source: docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html; the statuses are
those of …/supported-gateway-response-types.html.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from samsocket.api import INTEGRATION_TIMEOUT
from samsocket.errors import FunctionFailedError, FunctionUnavailableError, IntegrationError, RefusedError
from samsocket.events import authorizer_event
from samsocket.integrations import with_stage_variables
from samsocket.policies import names
from samsocket.selection import MISSING, walk

if TYPE_CHECKING:
    from samsocket.api import Authorizer
    from samsocket.emulator import Emulator
    from samsocket.events import Handshake

_logger = logging.getLogger(__name__)

_INVOKE: Final = "execute-api:Invoke"
_ANSWER_BYTES: Final = 8_192
"""The most that an authorizer may return. Source: the quotas for WebSocket APIs."""


async def authorize(
    emulator: Emulator, authorizer: Authorizer, handshake: Handshake, method_arn: str, source_arn: str
) -> dict[str, Any]:
    """Ask the authorizer, and return what it adds to each event's `requestContext.authorizer`.

    Its answer is never kept: API Gateway does not cache those of a WebSocket API. `source_arn` is the name by which a
    function lets API Gateway in.

    Raises:
        RefusedError: 401 for a missing identity source or `Unauthorized`, 403 for a policy that does not allow, 500 for
            an authorizer that fails.
    """
    event = authorizer_event(handshake, method_arn)
    if not all(_present(source, handshake, event) for source in authorizer.identity_sources):
        raise RefusedError(401, "Unauthorized")
    answer = await _invoke(emulator, authorizer, handshake, event, source_arn)
    if not isinstance(answer, Mapping) or not _is_policy(answer.get("policyDocument")):
        _logger.warning("authorizer %s returned no policyDocument, or one that is no policy", authorizer.function)
        raise RefusedError(500, "Internal server error")
    if len(json.dumps(answer, separators=(",", ":")).encode()) > _ANSWER_BYTES:
        _logger.warning("authorizer %s returned more than %s bytes", authorizer.function, _ANSWER_BYTES)
        raise RefusedError(500, "Internal server error")
    if not allows(answer["policyDocument"], method_arn):
        raise RefusedError(403, "Forbidden")
    context = answer.get("context") or {}
    if not isinstance(context, Mapping) or any(isinstance(value, dict | list) for value in context.values()):
        _logger.warning("authorizer %s returned a context that is no object of plain values", authorizer.function)
        raise RefusedError(500, "Internal server error")
    context = {name: _text(value) for name, value in context.items()}
    return {"principalId": str(answer.get("principalId", "")), **context}


async def _invoke(
    emulator: Emulator, authorizer: Authorizer, handshake: Handshake, event: dict[str, Any], source_arn: str
) -> Any:
    """Invoke the authorizer's function.

    Raises:
        RefusedError: 401 if it says `Unauthorized`, 500 if it fails.
    """
    function = with_stage_variables(authorizer.function, handshake.stage_variables)
    try:
        if not function:
            raise FunctionUnavailableError("the route's authorizer has no function")
        if not authorizer.has_credentials and not await emulator.may_invoke(function, source_arn):
            raise FunctionUnavailableError(f"{function} does not let apigateway.amazonaws.com invoke it ({source_arn})")
        return await emulator.invoke(function, event, seconds=INTEGRATION_TIMEOUT)
    except FunctionFailedError as error:
        if '"errorMessage": "Unauthorized"' in str(error) or '"errorMessage":"Unauthorized"' in str(error):
            raise RefusedError(401, "Unauthorized") from error
        _logger.warning("authorizer failed: %s", error)
        raise RefusedError(500, "Internal server error") from error
    except IntegrationError as error:
        _logger.warning("authorizer failed: %s", error)
        raise RefusedError(500, "Internal server error") from error


def allows(policy: Mapping[str, Any], method_arn: str) -> bool:
    """Return whether a policy document lets `execute-api:Invoke` through; a Deny wins."""
    effects = {
        statement["Effect"]
        for statement in _statements(policy)
        if names(statement, "Action", _INVOKE) and names(statement, "Resource", method_arn)
    }
    return "Allow" in effects and "Deny" not in effects


def _statements(policy: Mapping[str, Any]) -> list[Any]:
    statements = policy.get("Statement") or []
    return statements if isinstance(statements, list) else [statements]


def _is_policy(document: Any) -> bool:
    return isinstance(document, Mapping) and all(
        isinstance(statement, Mapping) and statement.get("Effect") in ("Allow", "Deny")
        for statement in _statements(document)
    )


def _present(source: str, handshake: Handshake, event: Mapping[str, Any]) -> bool:
    """Return whether an identity source such as `route.request.querystring.token` has a value."""
    place, _, name = source.strip().removeprefix("$").removeprefix("route.request.").partition(".")
    match place:
        case "header" | "multivalueheader":
            return any(key.lower() == name.lower() and any(values) for key, values in handshake.headers.items())
        case "querystring" | "multivaluequerystring":
            return any(handshake.query.get(name, []))
        case "stageVariables":
            return bool(handshake.stage_variables.get(name))
        case "context":
            return walk(event["requestContext"], name) not in (MISSING, None, "")
    return True


def _text(value: Any) -> Any:
    """Return a context value as later events carry it: `$context.authorizer.property` is the stringified value."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)
