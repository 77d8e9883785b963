"""One WebSocket, whose owner is called and does not wait."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

if TYPE_CHECKING:
    from listener_realtime.world import Hearing

INTERNAL_ERROR = 1011  # a close code
CLOSE_SECONDS = 2.0
"""How long a closing handshake may take: a dead line never answers."""


class _Connect(connect):
    """Without redirects: they could take the token elsewhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocket:
    """A socket that connects as soon as it is made. The token is sent in a header, so that no log of URLs has it."""

    def __init__(self, url: str, token: str, hearing: Hearing) -> None:
        self._hearing: Hearing | None = hearing
        self._outgoing: asyncio.Queue[str | None] = asyncio.Queue()
        self._connection: ClientConnection | None = None
        self._closing = asyncio.timeout(None)
        self._task = asyncio.get_running_loop().create_task(self._run(url, token))

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._connection is not None and self._hearing is not None

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._task.done()

    def send(self, text: str) -> None:
        """Send a frame, after those before it."""
        self._outgoing.put_nowait(text)

    def close(self) -> None:
        """Send what waits, then close; nothing is told any more."""
        if self._hearing is None:
            return
        self._hearing = None
        if self._connection is None:
            self._task.cancel()
        else:
            self._outgoing.put_nowait(None)
            self._closing.reschedule(asyncio.get_running_loop().time() + CLOSE_SECONDS)

    async def wait_closed(self) -> None:
        """Wait until nothing of it is left."""
        await asyncio.wait({self._task})

    async def _run(self, url: str, token: str) -> None:
        try:
            # No pings of the protocol: API Gateway does not count them, and the line has its own. API Gateway does not
            # compress.
            connection = await _Connect(
                url,
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,
                ping_interval=None,
                open_timeout=None,
                close_timeout=CLOSE_SECONDS,
            )
        except InvalidStatus as refusal:
            why = f"refused with status {refusal.response.status_code}"
            if self._hearing is not None:
                self._hearing.refused(refusal.response.status_code)
        except (OSError, WebSocketException) as problem:
            why = str(problem) or type(problem).__name__
        else:
            await self._use(connection)
            why = f"closed with {connection.close_code}"
        if self._hearing is not None:
            self._hearing.closed(why)

    async def _use(self, connection: ClientConnection) -> None:
        self._connection = connection
        writer = asyncio.get_running_loop().create_task(self._write(connection))
        try:
            async with self._closing:
                await self._read(connection)
                if self._hearing is None:
                    await asyncio.wait({writer})
        except TimeoutError:
            connection.transport.abort()
        except Exception as problem:  # noqa: BLE001  # a fault of the client's: its owner must learn that it is deaf
            self._report(problem)
            await connection.close(INTERNAL_ERROR)
        finally:
            self._connection = None
            writer.cancel()
            await asyncio.wait({writer})

    async def _read(self, connection: ClientConnection) -> None:
        if self._hearing is not None:
            self._hearing.opened()
        with suppress(WebSocketException):
            async for text in connection:
                if self._hearing is None:
                    return
                self._hearing.heard(text if isinstance(text, str) else text.decode(errors="replace"))

    def _report(self, problem: Exception) -> None:
        context = {"message": "a frame could not be handled; its connection is closed", "exception": problem}
        asyncio.get_running_loop().call_exception_handler(context)

    async def _write(self, connection: ClientConnection) -> None:
        with suppress(OSError, WebSocketException):  # the reader finds it closed
            while (text := await self._outgoing.get()) is not None:
                await connection.send(text)
            await connection.close()
