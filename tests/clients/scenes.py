"""A scene: one client, whichever, and the server that plays the service for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.clients.drivers import Driver, PythonDriver, Report
from tests.clients.server import WITHIN, Connection, Server


def message(kind: str, data: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a message of the service."""
    return {"type": kind, "data": data or {}, **more}


def event(number: int, kind: str = "call_started", **more: Any) -> dict[str, Any]:
    """Return an event, as it comes live."""
    return message(kind, {"call_id": number}, id=f"{number:028x}", position={"calls/1": str(number)}, **more)


def refusal(code: str, **more: Any) -> dict[str, Any]:
    """Return an error frame."""
    return message("error", {"code": code, "message": "no", **more})


def resumed(position: dict[str, str] | None = None, *, complete: bool = True, recovered: bool = True) -> dict[str, Any]:
    """Return the end of an answer to `resume`."""
    return message("resumed", {"recovered": recovered, "replayed": 1, "complete": complete}, position=position or {})


SINCE = message("pong", position={"since": "s"})
"""The answer to the first ping: it brings a position."""


class Scene:
    """One client under test. `report` is what it had done when it was last looked at."""

    def __init__(self, driver: Driver, server: Server) -> None:
        self.driver, self.server = driver, server
        self.report: Report = {}

    @property
    def is_python(self) -> bool:
        """Whether it is the Python client."""
        return isinstance(self.driver, PythonDriver)

    async def do(self, command: str, **data: Any) -> Report:
        """Have the client do something; returns all that it has done."""
        self.report = await self.driver.do(command, **data)
        return self.report

    async def begins(self, **options: Any) -> None:
        """Make a client, by default for calls alone."""
        await self.do("new", **{"url": self.server.url, "endpoints": ["calls"]} | options)

    async def opens(self, **options: Any) -> Connection:
        """Make a client, and wait until it is connected."""
        await self.begins(**options)
        await self.do("open")
        connection = await self.server.connection(0)
        await self.sees(lambda report: report["state"] == "open")
        return connection

    async def passes(self, ms: float) -> Report:
        """Let time pass for the client."""
        return await self.do("pass", ms=ms)

    async def attempts(self, count: int) -> Connection:
        """Let time pass, up to a minute, until the client has tried to connect so often; return that connection."""
        for _ in range(601):
            if len((await self.do("look"))["opened"]) >= count:
                return await self.server.connection(count - 1)
            await self.passes(100)
        raise AssertionError(f"only {len(self.report['opened'])} attempts")

    async def reopens(self) -> Connection:
        """Let time pass until the client is connected once more."""
        before = self.states().count("open")
        try:
            async with asyncio.timeout(WITHIN):
                while self.states().count("open") == before:
                    waits = (await self.do("look"))["state"] == "waiting"
                    await (self.passes(100) if waits else asyncio.sleep(0.002))
        except TimeoutError:
            raise AssertionError(f"not connected again; the client's report is {self.report}") from None
        return self.server.connections[len(self.report["opened"]) - 1]

    async def says(self, connection: Connection, *messages: Any) -> Report:
        """Have the service send a frame for each message, and wait until they are there."""
        connection.says(*messages)
        number = self.server.connections.index(connection)
        return await self.sees(lambda report: report["received"][number] >= connection.told)

    async def sees(self, holds: Callable[[Report], bool]) -> Report:
        """Wait until something holds of the client's report, while no time passes for it."""
        try:
            async with asyncio.timeout(WITHIN):
                while not holds(await self.do("look")):  # noqa: ASYNC110  # the client may be another process
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"never; the client's report is {self.report}") from None
        return self.report

    def heard(self) -> list[str]:
        """The types of the messages that were reported."""
        return [each["type"] for each in self.report["heard"]]

    def calls(self) -> list[int]:
        """The numbers of the events that were reported."""
        return [each["data"]["call_id"] for each in self.report["heard"] if "id" in each]

    def states(self) -> list[str]:
        """The states that were reported."""
        return [each["state"] for each in self.report["states"]]

    async def ends(self) -> None:
        """Close the client; nothing is left of it."""
        if not self.report:
            return
        await self.do("close")
        for connection in self.server.connections:
            if connection.is_frozen:
                connection.drops()  # `ws` waits 30 s for the answer to its close frame, which never comes
        await self.sees(lambda report: report["sockets"] == 0)
        assert self.report["timers"] == 0
        assert self.report["isListening"] is False
        if isinstance(self.driver, PythonDriver):
            await self.driver.tasks_left()
