"""Another server, which gets the requests that lead to no stage: a page beside the API, from the same origin.

AWS has no such server, and answers these requests with 403. So does the gateway if the other server answers 404.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from aiohttp import web
from yarl import URL

from samsocket import management

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

_logger = logging.getLogger(__name__)

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=5)
# These headers describe one connection, not the message (RFC 9110, section 7.6.1); aiohttp sets the lengths itself.
_HOP_BY_HOP: Final = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Fallback:
    """Hands requests on, `Host` and `Origin` as they came, so that the other server can judge them."""

    def __init__(self, url: str) -> None:
        """Take the other server's URL, without a path; the client is opened by `async with`."""
        self._url = url.rstrip("/")
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
            skip_auto_headers=["User-Agent"],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.close()

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Answer as the other server answers; 502 if it does not."""
        # A handshake is meant for a stage, and its URL may contain a token: do not pass it on. A path in the form of a
        # whole URL would lead to a third server.
        if self._client is None or "Upgrade" in request.headers or not request.raw_path.startswith("/"):
            return management.forbidden()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        try:
            async with self._client.request(
                request.method,
                URL(self._url + request.raw_path, encoded=True),
                headers=headers,
                data=await request.read() if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                if answer.status == 404:
                    return management.forbidden()
                response = web.Response(status=answer.status, body=await answer.read())
                response.headers.extend(
                    (name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP
                )
                return response
        except web.HTTPRequestEntityTooLarge:
            return management.error(413, "PayloadTooLargeException", "Request body too long")
        except (aiohttp.ClientError, TimeoutError) as error:
            _logger.warning("%s does not answer: %s", self._url, error)
            return web.json_response({"message": f"{self._url} does not answer"}, status=502)
