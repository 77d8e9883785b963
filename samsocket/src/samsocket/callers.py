"""Who a client of `$connect` is: the signature of its handshake, and its API key.

Sources: docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-control-access-iam.html and, for API
keys, …/apigateway-websocket-api-selection-expressions.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samsocket.api import API_KEY_OF_THE_AUTHORIZER
from samsocket.errors import NoVerdictError, RefusedError
from samsocket.signatures import Signature

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from samsocket.api import WebSocketApi
    from samsocket.emulator import Emulator
    from samsocket.events import Handshake
    from samsocket.rates import Rates


async def signed_by(emulator: Emulator, request: BaseRequest, api: WebSocketApi) -> dict[str, str]:
    """Check a handshake's signature, and return what events tell of the caller.

    Raises:
        RefusedError: 403 if the request is not signed or its signature does not count, 500 if nobody can tell.
    """
    signature = Signature.of(request.headers, request.raw_path.partition("?")[2])
    if signature is None:
        raise RefusedError(403, "Missing Authentication Token")
    try:
        counts = await emulator.rights.authenticates(request.method, request.raw_path, request.headers, b"")
    except NoVerdictError as error:
        raise RefusedError(500, "Internal server error") from error
    if not counts:
        raise RefusedError(403, "The request signature we calculated does not match the signature you provided.")
    return {"accessKey": signature.access_key, "accountId": api.account}


def with_api_key(api: WebSocketApi, rates: Rates, handshake: Handshake) -> dict[str, str]:
    """Check a handshake's API key, and return what events tell of it.

    Raises:
        RefusedError: 403 without a key that a usage plan lets into the stage, 429 over that plan's rate.
    """
    if api.api_key_selection == API_KEY_OF_THE_AUTHORIZER:
        value = str(handshake.authorizer.get("usageIdentifierKey", ""))
    else:
        headers = {name.lower(): values[-1] for name, values in handshake.headers.items()}
        value = headers.get("x-api-key", "")
    key = api.api_keys.get(value)
    if key is None or handshake.stage not in key.stages:
        raise RefusedError(403, "Forbidden")
    if not rates.admits_key(key):
        raise RefusedError(429, "Too Many Requests")
    return {"apiKey": value, "apiKeyId": key.key_id}
