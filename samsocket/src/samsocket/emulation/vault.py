"""What the emulator tells the programs of its own run about access keys; nobody else is answered.

| request | answer |
| --- | --- |
| `GET /_samsocket/keys/{access key id}` | `SecretAccessKey` and `SessionToken`, null if the key is nobody's |
| `POST /_samsocket/roles` with a function's `FunctionArn`, `FunctionName` and `Role` | the variables of its role |

The gateway checks signatures with the first; functions that run outside the emulator have their role's rights by the
second. Whoever has the run's own key may do everything in the emulator anyway.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

Scope = Mapping[str, Any]
Event = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX: Final = "/_samsocket/"
KEYS: Final = f"{PREFIX}keys/"
ROLES: Final = f"{PREFIX}roles"

_FORBIDDEN: Final = 403


class Vault:
    """An ASGI application before the emulator and behind the check of signatures."""

    def __init__(
        self,
        inside: Application,
        is_own: Callable[[Scope], bool],
        secret: Callable[[str], Mapping[str, str | None]],
        role: Callable[[dict[str, Any]], Mapping[str, str]],
    ) -> None:
        """Take the emulator, whether a request is signed with the run's own key, and what is told."""
        self._inside, self._is_own, self._secret, self._role = inside, is_own, secret, role

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is asked here, and pass on the rest."""
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or not path.startswith(PREFIX):
            await self._inside(scope, receive, send)
        elif not self._is_own(scope):
            await _answer(send, _FORBIDDEN, {"message": "only the run's own key is told of others"})
        elif path.startswith(KEYS):
            await _answer(send, 200, self._secret(unquote(path.removeprefix(KEYS))))
        else:
            await _answer(send, 200, self._role(json.loads(await read(receive))))


async def read(receive: Receive) -> bytes:
    """Return a request's body."""
    parts, more = [], True
    while more:
        event = await receive()
        parts.append(event.get("body", b""))
        more = event["type"] == "http.request" and event.get("more_body", False)
    return b"".join(parts)


async def _answer(send: Send, status: int, content: Mapping[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
