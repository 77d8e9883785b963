"""Who signed a request to the gateway, and whether the emulator's policies let that caller manage connections.

The gateway checks each signature itself. It knows the secret of its own key, and an emulator that samsocket started
tells it those of the keys that it issued, such as a role's (`samsocket.emulation.vault`). Only what policies say is the
emulator's to judge, and the gateway remembers a yes. Any other emulator keeps its secrets: it is shown each
request that is signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
from botocore.credentials import Credentials

from samsocket.emulation.vault import KEYS
from samsocket.errors import NoVerdictError
from samsocket.questions import Ask, Denial, Request, denial
from samsocket.signatures import Signature

if TYPE_CHECKING:
    from multidict import MultiMapping

    from samsocket.emulator import Asked

_SERVICE: Final = "execute-api"
_SECRET_SECONDS: Final = 60.0
_THROTTLED: Final = 429
_SERVER_ERROR: Final = 500
_MISMATCH: Final = "The request signature we calculated does not match the signature you provided."

_Key = tuple[str, str, str, str]


class Rights:
    """Judges callers. Its methods raise `NoVerdictError` if the emulator fails or does not answer."""

    def __init__(self, own: Credentials, ask: Ask, region: str) -> None:
        """Take the gateway's own key, which may do everything, a way to ask the emulator, and its APIs' Region."""
        self._own, self._ask_emulator, self._scope = own, ask, (_SERVICE, region)
        self._tells_secrets: bool | None = None
        self._secrets: dict[str, tuple[Credentials, float]] = {}
        self._allowed_at: dict[_Key, float] = {}
        self._asking: dict[_Key, asyncio.Lock] = {}

    async def authenticates(self, method: str, raw_path: str, headers: MultiMapping[str], body: bytes) -> bool:
        """Return whether a request's signature counts; `raw_path` is path and query string as they came.

        An emulator that keeps its secrets looks at the signature before it looks for the path, unless it does not check
        signatures at all.
        """
        signature = _current(headers, raw_path)
        if signature is None:
            return False
        if signature.access_key == self._own.access_key or await self._is_told():
            return await self._signer(signature, method, raw_path, headers, body) is not None
        asked = await _verdict(self._ask_emulator(method, raw_path, headers, body))
        if asked.status not in (400, 401, 403):
            return True
        return b"AccessDenied" in asked.body or "AccessDenied" in str(asked.headers)

    async def permission(self, request: Request, *, counts_for: float) -> Denial | None:
        """Check the right of a management request's caller: None if it has the right, else the refusal.

        A granted right counts for `counts_for` seconds for that access key, method and stage of an API; a refusal is
        not remembered. The signature is checked each time.
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
            return await _verdict(self._ask_emulator(request.method, request.emulated_path, {}, b"", signed_by=signer))

        key = signature.access_key, request.method, request.api_id, request.stage
        return await self._remembered(key, counts_for, probe)

    async def _is_told(self) -> bool:
        """Return whether the emulator tells the secrets of its keys; it is asked until it answers."""
        if self._tells_secrets is None:
            with contextlib.suppress(NoVerdictError):
                self._tells_secrets = await self._told(self._own.access_key) is not None
        return bool(self._tells_secrets)

    async def _told(self, access_key: str) -> Any:
        """Return what the emulator tells about a key; None if it tells nothing."""
        path = KEYS + quote(access_key, safe="")
        asked = await _verdict(self._ask_emulator("GET", path, {}, b"", signed_by=self._own))
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
        self, signature: Signature, method: str, raw_path: str, headers: MultiMapping[str], body: bytes
    ) -> Credentials | None:
        """Return the credentials with which a request was signed; None if it is not signed with its key's secret."""
        if (signature.service, signature.region) != self._scope:
            return None
        known = await self._credentials(signature.access_key)
        if known is None or (known.token or "") != signature.session_token:
            return None
        return known if signature.is_of(known.secret_key, method, raw_path, headers, body) else None

    # ---- an emulator that does not -----------------------------------------------------------------------------------

    async def _permission_as_it_came(self, request: Request, counts_for: float) -> Denial | None:
        """Show the emulator the request, with all that its signature covers; it serves the same path.

        A yes to a signed request is not remembered: nobody else can check the next signature.
        """

        async def probe() -> Asked:
            return await _verdict(self._ask_emulator(request.method, request.raw_path, request.headers, request.body))

        if request.is_signed:
            return denial(await probe())
        return await self._remembered(("", request.method, request.api_id, request.stage), counts_for, probe)

    async def _permission_of_ours(
        self, request: Request, signature: Signature | None, counts_for: float
    ) -> Denial | None:
        """Let through what is signed with our own key, and everything if the emulator accepts an unsigned request.

        The emulator cannot judge another signature here, which covers a path that it does not serve.
        """

        async def probe() -> Asked:
            return await _verdict(self._ask_emulator("GET", request.unknown_path, {}, b""))

        refusal = await self._remembered(("", "GET", request.api_id, request.stage), counts_for, probe)
        if refusal is None:
            return None
        if signature is not None and signature.access_key == self._own.access_key:
            signer = await self._signer(signature, request.method, request.raw_path, request.headers, request.body)
            if signer is not None:
                return None
        if not request.is_signed:
            return Denial.of("MissingAuthenticationTokenException", "Missing Authentication Token")
        served = request.unknown_path.partition("/@connections")[0]
        return Denial.of("ForbiddenException", f"the emulator enforces IAM, which it can do only under {served}")

    async def _remembered(self, key: _Key, counts_for: float, probe: Callable[[], Awaitable[Asked]]) -> Denial | None:
        if self._allowed_at.get(key, -math.inf) + counts_for > time.monotonic():
            return None
        async with self._asking.setdefault(key, asyncio.Lock()):  # a fan-out begins with many requests at once
            if self._allowed_at.get(key, -math.inf) + counts_for > time.monotonic():
                return None
            refusal = denial(await probe())
            if refusal is None:
                self._allowed_at[key] = time.monotonic()
            return refusal


async def _verdict(answering: Awaitable[Asked]) -> Asked:
    """Wait for the emulator's answer.

    Raises:
        NoVerdictError: it does not answer, or says that it fails, which is neither yes nor no.
    """
    try:
        asked = await answering
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NoVerdictError(str(error)) from error
    if asked.status >= _SERVER_ERROR or asked.status == _THROTTLED:
        raise NoVerdictError(f"it answered {asked.status}")
    return asked


def _current(headers: Mapping[str, str], raw_path: str) -> Signature | None:
    """Return a request's signature if it has one that counts at this time."""
    signature = Signature.of(headers, raw_path.partition("?")[2])
    return signature if signature is not None and signature.is_current(datetime.now(UTC)) else None
