"""An asynchronous client of the emulator: Lambda's Invoke, and the right of a caller to manage connections."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from samsocket.errors import FunctionFailedError, FunctionUnavailableError, IntegrationTimeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping

_EMULATOR_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=5)
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)
_DENIAL_HEADERS: Final = ("Content-Type", "x-amzn-ErrorType")


@dataclass(frozen=True)
class Denial:
    """The emulator's 403, to be passed on as it is."""

    body: bytes
    headers: Mapping[str, str]


class Emulator:
    """An AWS endpoint behind one keep-alive client.

    At most `concurrency` invocations of a function run at a time, because the emulator keeps an environment for each
    concurrent invocation that it ever had. The others wait here; this wait does not count as the integration's time.
    """

    judges_any_path: ClassVar[bool] = False
    """Whether `permission` can judge management requests under every path."""

    def __init__(
        self, endpoint_url: str, *, region: str, access_key: str, secret_key: str, concurrency: int = 8
    ) -> None:
        """Bind to an endpoint; the client is opened by `async with`."""
        self._endpoint_url = endpoint_url.rstrip("/")
        self._signer = SigV4Auth(Credentials(access_key, secret_key), "lambda", region)
        self._concurrency = concurrency
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._allowed_at: dict[tuple[str, str, str], float] = {}
        self._asking: dict[tuple[str, str, str], asyncio.Lock] = {}
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.close()

    async def invoke(self, function: str, event: Mapping[str, Any], *, seconds: float) -> Any:
        """Invoke a function and wait for what it returns.

        `function` is a name or an ARN, `seconds` the integration's timeout; after it the function goes on, as on AWS.

        Raises:
            FunctionFailedError: it raised an error.
            FunctionUnavailableError: Lambda did not run it.
            IntegrationTimeoutError: it did not answer in time.
        """
        slot = self._slots.setdefault(function, asyncio.Semaphore(self._concurrency))
        async with slot:
            try:
                async with asyncio.timeout(seconds):
                    status, function_error, payload = await self._post_invocation(function, event)
            except TimeoutError as error:
                raise IntegrationTimeoutError(f"{function}: no answer in {seconds:g} s") from error
            except aiohttp.ClientError as error:
                raise FunctionUnavailableError(f"{function}: {error}") from error
        detail = payload[:500].decode(errors="replace") if status != 200 or function_error else ""
        if status != 200:
            raise FunctionUnavailableError(f"{function}: Lambda answered {status}: {detail}")
        if function_error:
            raise FunctionFailedError(f"{function}: {function_error}: {detail}")
        try:
            return json.loads(payload) if payload else None
        except ValueError as error:
            raise FunctionFailedError(f"{function}: returned no JSON") from error

    async def _post_invocation(self, function: str, event: Mapping[str, Any]) -> tuple[int, str | None, bytes]:
        url = f"{self._endpoint_url}/2015-03-31/functions/{quote(function, safe='')}/invocations"
        request = AWSRequest("POST", url, data=json.dumps(event, separators=(",", ":")).encode())
        request.headers["X-Amz-Invocation-Type"] = "RequestResponse"
        self._signer.add_auth(request)
        async with self._opened.post(
            URL(url, encoded=True), data=request.data, headers=dict(request.headers.items()), timeout=_NO_TIMEOUT
        ) as response:
            return response.status, response.headers.get("X-Amz-Function-Error"), await response.read()

    async def permission(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, stage: str, counts_for: float
    ) -> Denial | None:
        """Check the right of a management request's caller: None if it has the right, else the emulator's refusal.

        The request is sent on as it came (the signature covers method, path, Host and body) to the emulator, which
        serves the same path and knows no connection of ours: it answers 403 to a caller without the right, and 410 to
        any other. The gateway remembers a granted right for `counts_for` seconds for that access key, method and stage.
        It does not remember a refusal.

        Raises:
            aiohttp.ClientError: the emulator does not answer.
        """
        key = (_access_key(headers.get("Authorization", "")), method, stage)
        if self._allowed_at.get(key, -math.inf) + counts_for > time.monotonic():
            return None
        async with self._asking.setdefault(key, asyncio.Lock()):  # a fan-out begins with many requests at once
            if self._allowed_at.get(key, -math.inf) + counts_for > time.monotonic():
                return None
            denial = await self._ask(method, path, headers, body)
            if denial is None:
                self._allowed_at[key] = time.monotonic()
            return denial

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Denial | None:
        url = URL(f"{self._endpoint_url}{path}", encoded=True)
        async with self._opened.request(
            method,
            url,
            data=body,
            headers={name: value for name, value in headers.items() if name.lower() not in _REWRITTEN},
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            timeout=_EMULATOR_TIMEOUT,
        ) as response:
            if response.status != 403:
                return None
            kept = {name: response.headers[name] for name in _DENIAL_HEADERS if name in response.headers}
            return Denial(await response.read(), kept)

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._client is None:
            raise RuntimeError("the emulator's client is not open")
        return self._client

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self._endpoint_url).netloc


# Set by the client itself from the body that is sent on.
_REWRITTEN: Final = frozenset({"content-length", "transfer-encoding", "connection", "expect"})


def _access_key(authorization: str) -> str:
    """Return the access key id that a SigV4 header names; empty for an unsigned request."""
    _, found, rest = authorization.partition("Credential=")
    return rest.partition("/")[0] if found else ""
