"""An asynchronous client of the emulator: Lambda's Invoke, and other services."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from samsocket.backends import Answer, ServiceCall
from samsocket.errors import FunctionFailedError, FunctionUnavailableError, IntegrationTimeoutError
from samsocket.policies import permits
from samsocket.rights import Rights

if TYPE_CHECKING:
    from collections.abc import Mapping

_EMULATOR_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=5)
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)
_PERMISSION_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Asked:
    """What the emulator itself answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Emulator:
    """An AWS endpoint behind one keep-alive client.

    At most `concurrency` invocations of a function run at a time, because the emulator keeps an environment for each
    concurrent invocation that it ever had. The others wait here; this wait does not count as the integration's time.
    """

    def __init__(
        self, endpoint_url: str, *, region: str, access_key: str, secret_key: str, concurrency: int = 8
    ) -> None:
        """Bind to an endpoint; the client is opened by `async with`."""
        self._endpoint_url = endpoint_url.rstrip("/")
        self._credentials, self._region = Credentials(access_key, secret_key), region
        self._signer = SigV4Auth(self._credentials, "lambda", region)
        self._concurrency = concurrency
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._permitted_at: dict[tuple[str, str], float] = {}
        self.rights = Rights(self._credentials, self.ask, region)
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

    async def invoke(self, function: str, event: Any, *, seconds: float) -> Any:
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

    async def _post_invocation(self, function: str, event: Any) -> tuple[int, str | None, bytes]:
        url = f"{self._endpoint_url}/2015-03-31/functions/{quote(function, safe='')}/invocations"
        request = AWSRequest("POST", url, data=json.dumps(event, separators=(",", ":")).encode())
        request.headers["X-Amz-Invocation-Type"] = "RequestResponse"
        self._signer.add_auth(request)
        async with self._opened.post(
            URL(url, encoded=True), data=request.data, headers=dict(request.headers.items()), timeout=_NO_TIMEOUT
        ) as response:
            return response.status, response.headers.get("X-Amz-Function-Error"), await response.read()

    async def may_invoke(self, function: str, source_arn: str) -> bool:
        """Return whether a function's policy lets API Gateway invoke it for the route or authorizer of that ARN.

        A yes counts for a minute. An emulator that cannot tell the policy lets everything through, and so does one that
        does not know the function: its invocation says so.
        """
        key = (function, source_arn)
        if self._permitted_at.get(key, -math.inf) + _PERMISSION_SECONDS > time.monotonic():
            return True
        policy = await self._policy(function)
        if policy is not None and not permits(policy, source_arn):
            return False
        self._permitted_at[key] = time.monotonic()
        return True

    async def _policy(self, function: str) -> Mapping[str, Any] | None:
        """Return a function's policy, which may be empty; None if the emulator does not tell."""
        name, qualifier = _name_and_qualifier(function)
        url = f"{self._endpoint_url}/2015-03-31/functions/{quote(name, safe='')}/policy"
        if qualifier:
            url += f"?Qualifier={quote(qualifier, safe='')}"
        request = AWSRequest("GET", url)
        self._signer.add_auth(request)
        try:
            async with self._opened.get(
                URL(url, encoded=True), headers=dict(request.headers.items()), timeout=_EMULATOR_TIMEOUT
            ) as response:
                text = await response.text()
            if response.status == 404 and "No policy" in text:
                return {}
            policy = json.loads(json.loads(text)["Policy"]) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
            return None
        return policy if isinstance(policy, dict) else None

    async def call(self, call: ServiceCall, method: str, *, seconds: float) -> Answer:
        """Send a request to a service of the emulator, signed with the gateway's own key.

        Raises:
            aiohttp.ClientError: the emulator does not answer.
            TimeoutError: it did not answer in time.
        """
        url = self._endpoint_url + call.path
        request = AWSRequest(method, url, data=call.body.encode(), headers=dict(call.headers))
        SigV4Auth(self._credentials, call.signing_name, call.region or self._region).add_auth(request)
        return await self.fetch(method, url, dict(request.headers.items()), call.body, seconds=seconds)

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: str, *, seconds: float) -> Answer:
        """Send a request to any HTTP server, as it is; redirections are answers too.

        Raises:
            aiohttp.ClientError: nothing answers.
            TimeoutError: it did not answer in time.
        """
        async with (
            asyncio.timeout(seconds),
            self._opened.request(
                method,
                URL(url, encoded=True),
                data=body.encode() if body else None,
                headers=headers,
                skip_auto_headers=("Accept-Encoding",),
                allow_redirects=False,
                timeout=_NO_TIMEOUT,
            ) as response,
        ):
            received = {name.lower(): value for name, value in response.headers.items()}
            return Answer(status=response.status, headers=received, text=await response.text(errors="replace"))

    async def ask(
        self,
        method: str,
        raw_path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        signed_by: Credentials | None = None,
    ) -> Asked:
        """Send a request to the emulator as it came, or signed anew for `execute-api`.

        Raises:
            aiohttp.ClientError: the emulator does not answer.
            TimeoutError: it did not answer in time.
        """
        url = f"{self._endpoint_url}{raw_path}"
        if signed_by is not None:
            request = AWSRequest(method, url, data=body, headers=dict(headers))
            SigV4Auth(signed_by, "execute-api", self._region).add_auth(request)
            headers = dict(request.headers.items())
        async with self._opened.request(
            method,
            URL(url, encoded=True),
            data=body,
            headers={name: value for name, value in headers.items() if name.lower() not in _REWRITTEN},
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            timeout=_EMULATOR_TIMEOUT,
        ) as response:
            return Asked(response.status, response.headers, await response.read())

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


def _name_and_qualifier(function: str) -> tuple[str, str]:
    """Split a function's name or ARN from its version or alias."""
    parts = function.split(":")
    length = 7 if function.startswith("arn:") else 1
    return ":".join(parts[:length]), ":".join(parts[length:])
