"""Who signed a request to the gateway, and whether the emulator's policies let that caller manage connections.

The gateway checks each signature itself. It knows the secret of its own key, and an emulator that samsocket started
tells it those of the keys that it issued, such as a role's (`samsocket.emulation.vault`). Only what policies say is the
emulator's to judge, and the gateway remembers a yes. Any other emulator keeps its secrets: it is shown the request.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from botocore.credentials import Credentials

from samsocket.emulation.vault import KEYS
from samsocket.signatures import Signature

if TYPE_CHECKING:
    from samsocket.emulator import Asked

_SECRET_SECONDS: Final = 60.0
_DENIAL_HEADERS: Final = ("Content-Type", "x-amzn-ErrorType")
_MISMATCH: Final = "The request signature we calculated does not match the signature you provided."

_Key = tuple[str, str, str]


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
    headers: Mapping[str, str]
    body: bytes
    api_id: str
    stage: str
    connection_id: str
    is_emulated: bool

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


class Rights:
    """Judges callers. Its methods raise `aiohttp.ClientError` or `TimeoutError` if the emulator does not answer."""

    def __init__(self, own: Credentials, ask: Ask) -> None:
        """Take the gateway's own key, which may do everything, and a way to ask the emulator."""
        self._own, self._ask_emulator = own, ask
        self._tells_secrets: bool | None = None
        self._secrets: dict[str, tuple[Credentials, float]] = {}
        self._allowed_at: dict[_Key, float] = {}
        self._asking: dict[_Key, asyncio.Lock] = {}

    async def authenticates(self, method: str, raw_path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Return whether a request's signature counts; `raw_path` is path and query string as they came.

        An emulator that keeps its secrets looks at the signature before it looks for the path, unless it does not check
        signatures at all.
        """
        signature = _current(headers, raw_path)
        if signature is None:
            return False
        if signature.access_key == self._own.access_key or await self._is_told():
            return await self._signer(signature, method, raw_path, headers, body) is not None
        asked = await self._ask_emulator(method, raw_path, headers, body)
        denial = _denial(asked, (400, 401, 403))
        return denial is None or b"AccessDenied" in denial.body or "AccessDenied" in str(denial.headers)

    async def permission(self, request: Request, *, counts_for: float) -> Denial | None:
        """Check the right of a management request's caller: None if it has the right, else the refusal.

        A granted right counts for `counts_for` seconds for that access key, method and stage; a refusal is not
        remembered. The signature is checked each time.
        """
        signature = _current(request.headers, request.raw_path)
        if await self._is_told():
            return await self._permission_of_signer(request, signature, counts_for)
        if request.is_emulated:
            return await self._permission_as_it_came(request, counts_for)
        return await self._permission_of_ours(request, signature, counts_for)

    # ---- an emulator that tells secrets ------------------------------------------------------------------------------

    async def _permission_of_signer(
        self, request: Request, signature: Signature | None, counts_for: float
    ) -> Denial | None:
        if signature is None:
            if Signature.of(request.headers, request.raw_path.partition("?")[2]) is None:
                return Denial.of("MissingAuthenticationTokenException", "Missing Authentication Token")
            return Denial.of("InvalidSignatureException", "Signature expired")
        signer = await self._signer(signature, request.method, request.raw_path, request.headers, request.body)
        if signer is None:
            return Denial.of("InvalidSignatureException", _MISMATCH)
        if signer is self._own:
            return None

        async def probe() -> Asked:
            """Have the caller itself ask: the emulator knows no connection of ours, and answers 403 or 410."""
            return await self._ask_emulator(request.method, request.emulated_path, {}, b"", signed_by=signer)

        return await self._remembered((signature.access_key, request.method, request.stage), counts_for, probe)

    async def _is_told(self) -> bool:
        """Return whether the emulator tells the secrets of its keys; it is asked once."""
        if self._tells_secrets is None:
            self._tells_secrets = await self._told(self._own.access_key) is not None
        return self._tells_secrets

    async def _told(self, access_key: str) -> Any:
        """Return what the emulator tells about a key; None if it tells nothing."""
        asked = await self._ask_emulator("GET", KEYS + quote(access_key, safe=""), {}, b"", signed_by=self._own)
        try:
            known = json.loads(asked.body) if asked.status == 200 else None
        except ValueError:
            return None
        return known if isinstance(known, dict) and "SecretAccessKey" in known else None

    async def _credentials(self, access_key: str) -> Credentials | None:
        """Return the credentials with an access key; None if it is nobody's."""
        if access_key == self._own.access_key:
            return self._own
        known, until = self._secrets.get(access_key, (None, -math.inf))
        if known is None or until < time.monotonic():
            told = await self._told(access_key)
            if not told or not told["SecretAccessKey"]:
                return None
            known = Credentials(access_key, told["SecretAccessKey"], told.get("SessionToken"))
            self._secrets[access_key] = (known, time.monotonic() + _SECRET_SECONDS)
        return known

    async def _signer(
        self, signature: Signature, method: str, raw_path: str, headers: Mapping[str, str], body: bytes
    ) -> Credentials | None:
        """Return the credentials with which a request was signed; None if it is not signed with its key's secret."""
        known = await self._credentials(signature.access_key)
        if known is None or (known.token or "") != signature.session_token:
            return None
        return known if signature.is_of(known.secret_key, method, raw_path, headers, body) else None

    # ---- an emulator that does not -----------------------------------------------------------------------------------

    async def _permission_as_it_came(self, request: Request, counts_for: float) -> Denial | None:
        """Show the emulator the request, with all that its signature covers; it serves the same path."""

        async def probe() -> Asked:
            return await self._ask_emulator(request.method, request.raw_path, request.headers, request.body)

        access_key = request.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
        return await self._remembered((access_key, request.method, request.stage), counts_for, probe)

    async def _permission_of_ours(
        self, request: Request, signature: Signature | None, counts_for: float
    ) -> Denial | None:
        """Let through what is signed with our own key, and everything if the emulator accepts an unsigned request.

        The emulator cannot judge another signature here, which covers a path that it does not serve.
        """

        async def probe() -> Asked:
            return await self._ask_emulator("GET", request.unknown_path, {}, b"")

        denial = await self._remembered(("", "GET", request.stage), counts_for, probe)
        if denial is None:
            return None
        if signature is not None and signature.access_key == self._own.access_key:
            signer = await self._signer(signature, request.method, request.raw_path, request.headers, request.body)
            if signer is not None:
                return None
        if "Authorization" not in request.headers and "X-Amz-Signature=" not in request.raw_path:
            return Denial.of("MissingAuthenticationTokenException", "Missing Authentication Token")
        served = request.unknown_path.partition("/@connections")[0]
        return Denial.of("ForbiddenException", f"the emulator enforces IAM, which it can do only under {served}")

    async def _remembered(self, key: _Key, counts_for: float, probe: Callable[[], Awaitable[Asked]]) -> Denial | None:
        if self._allowed_at.get(key, -math.inf) + counts_for > time.monotonic():
            return None
        async with self._asking.setdefault(key, asyncio.Lock()):  # a fan-out begins with many requests at once
            if self._allowed_at.get(key, -math.inf) + counts_for > time.monotonic():
                return None
            denial = _denial(await probe())
            if denial is None:
                self._allowed_at[key] = time.monotonic()
            return denial


def _current(headers: Mapping[str, str], raw_path: str) -> Signature | None:
    """Return a request's signature if it has one that counts at this time."""
    signature = Signature.of(headers, raw_path.partition("?")[2])
    return signature if signature is not None and signature.is_current(datetime.now(UTC)) else None


def _denial(asked: Asked, statuses: Collection[int] = (403,)) -> Denial | None:
    if asked.status not in statuses:
        return None
    return Denial(asked.body, {name: asked.headers[name] for name in _DENIAL_HEADERS if name in asked.headers})
