"""Requests that functions send to AWS by name, such as `https://dynamodb.us-east-1.amazonaws.com/`.

The functions' processes lead all such names to the gateway's port. Those of API Gateway itself it serves; the others
are passed on to the emulator, with the Host that their signature covers. So an SDK that knows no AWS_ENDPOINT_URL works
too, and no request leaves this machine.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from aiohttp import web
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

_logger = logging.getLogger(__name__)

_SUFFIXES: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "expect"})
_TIMEOUT: Final = aiohttp.ClientTimeout(total=900, connect=5)


class AwsNames:
    """Passes requests on to the emulator. Use it as an async context manager."""

    def __init__(self, endpoint_url: str) -> None:
        """Take the emulator's address."""
        self._url = endpoint_url.rstrip("/")
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._client = aiohttp.ClientSession(
            # A body that passes through cannot be sent again when the emulator has just closed an idle connection.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
            skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.close()

    def takes(self, request: BaseRequest) -> bool:
        """Return whether a request is for another service of AWS than API Gateway's data plane."""
        host = request.headers.get("Host", "").partition(":")[0].lower()
        return host.endswith(_SUFFIXES) and ".execute-api." not in host

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Answer as the emulator answers; bodies of any size pass through."""
        if self._client is None or not request.raw_path.startswith("/"):
            return web.Response(status=403)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        response: web.StreamResponse | None = None
        try:
            async with self._client.request(
                request.method,
                URL(self._url + request.raw_path, encoded=True),
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status)
                response.headers.extend((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP)
                await response.prepare(request)
                async for part in answer.content.iter_any():
                    await response.write(part)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError) as error:
            if response is not None and request.transport is not None:
                request.transport.abort()  # the client must not take the part that it has for the whole
                return response
            _logger.warning("the emulator does not answer: %s", error)
            return web.json_response({"message": "the emulator does not answer"}, status=502)
