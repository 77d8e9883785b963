"""The emulator as the gateway sees it, with functions that run in processes of our own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from samsocket.emulator import Emulator
from samsocket.errors import IntegrationTimeoutError

if TYPE_CHECKING:
    from samsocket.emulation.deployment import Account
    from samsocket.functions.pool import Pool

_logger = logging.getLogger(__name__)


class LocalEmulator(Emulator):
    """Invokes a function in a pool, if it is one of the pool's."""

    def __init__(self, account: Account, pool: Pool) -> None:
        """Bind both."""
        super().__init__(
            account.endpoint_url,
            region=account.region,
            access_key=account.access_key,
            secret_key=account.secret_key,
        )
        self._pool = pool
        self._running: set[asyncio.Task[Any]] = set()

    async def invoke(self, function: str, event: Any, *, seconds: float) -> Any:
        """Invoke a function and wait for what it returns; one that takes longer goes on.

        Raises:
            IntegrationError: there is no usable answer.
        """
        logical_id = self._pool.find(function)
        if logical_id is None:
            return await super().invoke(function, event, seconds=seconds)
        task = asyncio.create_task(self._pool.invoke(logical_id, event))
        self._running.add(task)
        task.add_done_callback(self._done)
        try:
            async with asyncio.timeout(seconds):
                returned = await asyncio.shield(task)
        except TimeoutError as error:
            raise IntegrationTimeoutError(f"{logical_id}: no answer in {seconds:g} s") from error
        if isinstance(returned, Mapping) and not str(returned.get("statusCode", 200)).startswith("2"):
            _logger.warning("%s answered %s: %s", logical_id, returned.get("statusCode"), returned.get("body", ""))
        return returned

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # it is retrieved, even if the client did not wait
