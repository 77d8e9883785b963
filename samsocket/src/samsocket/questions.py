"""What the gateway asks an emulator about a caller of the management API, and how it reads the answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from botocore.credentials import Credentials

from samsocket.errors import NoVerdictError

if TYPE_CHECKING:
    from multidict import MultiMapping

    from samsocket.emulator import Asked

_GRANTED: Final = (200, 404, 410)
"""How an emulator answers who may manage connections: it has none of ours."""
_FORBIDDEN: Final = 403
_DENIAL_HEADERS: Final = ("Content-Type", "x-amzn-ErrorType")


@dataclass(frozen=True)
class Denial:
    """A 403 for a management request."""

    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, kind: str, message: str) -> Denial:
        """Return one in AWS's shape."""
        headers = {"Content-Type": "application/json", "x-amzn-ErrorType": kind}
        return cls(json.dumps({"message": message}).encode(), headers)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A management request as it came, and what it is about. `is_emulated` says that the emulator serves its path."""

    method: str
    raw_path: str
    headers: MultiMapping[str]
    body: bytes
    api_id: str
    stage: str
    connection_id: str
    is_emulated: bool

    @property
    def is_signed(self) -> bool:
        """Return whether it has a signature, of whatever kind."""
        return "Authorization" in self.headers or "X-Amz-Signature=" in self.raw_path

    @property
    def emulated_path(self) -> str:
        """Return the path by which the emulator knows the same connection."""
        return f"{self._stage_path}/@connections/{quote(self.connection_id, safe='')}"

    @property
    def unknown_path(self) -> str:
        """Return the path of a connection that does not exist."""
        return f"{self._stage_path}/@connections/none"

    @property
    def _stage_path(self) -> str:
        return f"/_aws/execute-api/{self.api_id}/{self.stage}"


class Ask(Protocol):
    """Sends a request to the emulator, as it is or signed anew."""

    def __call__(
        self,
        method: str,
        raw_path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        signed_by: Credentials | None = None,
    ) -> Awaitable[Asked]:
        """Return its answer."""
        ...


def denial(asked: Asked) -> Denial | None:
    """Return the refusal that the emulator's answer is; None if it grants the right.

    Raises:
        NoVerdictError: the answer is neither.
    """
    if asked.status in _GRANTED:
        return None
    if asked.status != _FORBIDDEN:
        raise NoVerdictError(f"it answered {asked.status}")
    return Denial(asked.body, {name: asked.headers[name] for name in _DENIAL_HEADERS if name in asked.headers})
