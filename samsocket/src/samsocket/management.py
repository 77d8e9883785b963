"""The management API: `@connections`.

Source: docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html and
the model of ApiGatewayManagementApi in botocore (statuses, sizes, names of the errors and of GetConnection's members).
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from samsocket.errors import BufferFullError, DeliveryError, GoneError, MalformedIdError, NoVerdictError, TooLargeError
from samsocket.events import new_request_id
from samsocket.frames import TOO_BIG
from samsocket.questions import Request

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web import BaseRequest

    from samsocket.connection import Connection
    from samsocket.emulator import Emulator
    from samsocket.reports import Reports
    from samsocket.settings import Settings

_logger = logging.getLogger(__name__)

METHODS: Final = frozenset({"POST", "GET", "DELETE"})

_WELL_FORMED: Final = re.compile(r"(?:[A-Za-z0-9_-]{4})*[A-Za-z0-9_-]{3}=")
"""Connection ids as AWS makes them: base64url with one `=` at the end."""

_ANSWERS: Final[Mapping[type[DeliveryError], tuple[int, str, str | None]]] = {
    GoneError: (410, "GoneException", None),
    BufferFullError: (429, "LimitExceededException", "Limit exceeded"),
    MalformedIdError: (400, "BadRequestException", "Invalid connectionId"),
    TooLargeError: (413, "PayloadTooLargeException", "Message too long"),
}


def error(status: int, kind: str, message: str | None) -> web.Response:
    """Return an error as AWS shapes it: the SDKs read its kind from a header."""
    body = b"" if message is None else json.dumps({"message": message}).encode()
    headers = {"x-amzn-RequestId": new_request_id(), "x-amzn-ErrorType": kind, "Content-Type": "application/json"}
    return web.Response(status=status, body=body, headers=headers)


def forbidden() -> web.Response:
    """The answer to a request whose path leads to no stage."""
    return error(403, "ForbiddenException", "Forbidden")


class Accepted(web.StreamResponse):
    """The answer to a post, in bytes: what aiohttp does for the headers of an answer takes a fifth of a post's time."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write the answer."""
        self._keep_alive = request.keep_alive
        lines = [
            "HTTP/1.1 200 OK",
            f"Date: {_date(int(time.time()))}",
            f"x-amzn-RequestId: {new_request_id()}",
            *(() if request.keep_alive else ("Connection: close",)),
            "Content-Length: 0\r\n\r\n",
        ]
        if request.transport is not None and not request.transport.is_closing():
            request.transport.write("\r\n".join(lines).encode())
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the answer has no body."""


class Management:
    """Serves `@connections` for one API's open connections."""

    def __init__(
        self,
        api_id: str,
        connections: Mapping[str, Connection],
        emulator: Emulator,
        settings: Settings,
        reports: Reports,
    ) -> None:
        """Bind to the gateway's connections."""
        self._api_id, self._connections, self._emulator, self._settings = api_id, connections, emulator, settings
        self._reports = reports

    async def handle(
        self, request: BaseRequest, stage: str, connection_id: str, *, emulated: bool
    ) -> web.StreamResponse:
        """Answer one request; `emulated` says that its path is one that the emulator serves too."""
        if request.method not in METHODS:
            return forbidden()
        try:
            body = await self._body(request)
            if (refusal := await self._refusal(request, body, stage, connection_id, emulated=emulated)) is not None:
                return refusal
            return await self._act(request.method, self._open(connection_id, stage), body)
        except DeliveryError as failure:
            return error(*_ANSWERS[type(failure)])

    async def _body(self, request: BaseRequest) -> bytes:
        """The body of a POST.

        Raises:
            TooLargeError: it is over the limit. A body whose announced length is over the limit is not read.
        """
        if request.method != "POST":
            return b""
        most = self._settings.message_bytes
        if (request.content_length or 0) > most:
            raise TooLargeError(request.content_length)
        try:
            # Most have come as a whole, and `read` would ask twice and copy twice.
            body = request.content.read_nowait() if request.content.is_eof() else await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise TooLargeError from error
        if len(body) > most:
            raise TooLargeError(len(body))
        return body

    def _open(self, connection_id: str, stage: str) -> Connection:
        connection = self._connections.get(connection_id)
        if connection is None:
            kind = GoneError if _WELL_FORMED.fullmatch(connection_id) else MalformedIdError
            raise kind(connection_id)
        handshake = connection.handshake
        if not connection.is_open or handshake.stage != stage or handshake.api_id != self._api_id:
            raise GoneError(connection_id)
        return connection

    async def _act(self, method: str, connection: Connection, body: bytes) -> web.StreamResponse:
        if method == "GET":
            return web.json_response(_description(connection), headers={"x-amzn-RequestId": new_request_id()})
        if method == "DELETE":
            await connection.close(1000)
            return web.Response(status=204, headers={"x-amzn-RequestId": new_request_id()})
        if len(body) > self._settings.post_frame_bytes:
            await connection.close(TOO_BIG)
        else:
            payload = _text(body)
            await connection.send(payload, buffer_bytes=self._settings.buffer_bytes)
            self._reports.sent(connection.handshake, payload, "post")
        return Accepted()

    async def _refusal(
        self, request: BaseRequest, body: bytes, stage: str, connection_id: str, *, emulated: bool
    ) -> web.Response | None:
        """Return the answer to a caller without the right to manage the stage's connections."""
        asked = Request(
            method=request.method,
            raw_path=request.raw_path,
            headers=request.headers,
            body=body,
            api_id=self._api_id,
            stage=stage,
            connection_id=connection_id,
            is_emulated=emulated,
        )
        try:
            denial = await self._emulator.rights.permission(asked, counts_for=self._settings.decision_seconds)
        except NoVerdictError:
            _logger.exception("cannot ask %s for the caller's rights", self._emulator.address)
            return error(500, "InternalServerErrorException", "Internal server error")
        return None if denial is None else web.Response(status=403, body=denial.body, headers=denial.headers)


@lru_cache(maxsize=1)
def _date(now_s: int) -> str:
    """The value of a `Date` header."""
    return formatdate(now_s, usegmt=True)


def _text(body: bytes) -> bytes:
    """Return the payload of a text frame. Bytes that are not UTF-8 are replaced."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode(errors="replace").encode()
    return body


def _description(connection: Connection) -> dict[str, Any]:
    """GetConnection's answer."""
    return {
        "connectedAt": _iso8601(connection.handshake.connected_at),
        "identity": connection.handshake.identity,
        "lastActiveAt": _iso8601(connection.last_active_at),
    }


def _iso8601(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
