"""B43: whatever happens to connections, an application hears all events, in order, once."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.clients.scenes import Scene, message, refusal, resumed
from tests.clients.server import Connection

STEPS = 120
AT_ONCE = 5  # events in an answer to `resume`
LIFE_S = 600  # of a token


class Service:
    """Tells events by number, and answers as the service does. A position is the number of the last event before it."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene, self.random = scene, random.Random(seed)
        self.told = 0
        self._handled: dict[int, int] = {}  # frames, by connection
        self._welcome: set[int] = set()
        self._delayed: list[tuple[Connection, Any]] = []

    def event(self, number: int, *, live: bool) -> dict[str, Any]:
        """Return an event; those that were missed bring no position."""
        position = {"position": {"calls/1": str(number)}} if live else {}
        return message("call_started", {"call_id": number}, id=f"{number:028x}", ack=number % 3 == 0, **position)

    def tell(self) -> None:
        """Tell the next event to everyone who is connected: at once or later, once or twice, whole or in pieces."""
        self.told += 1
        for connection in self.open():
            told = [self.event(self.told, live=True)] * self.random.choice([1, 1, 1, 2])
            if self.random.random() < 0.3 or any(each is connection for each, _ in self._delayed):
                self._delayed.append((connection, told))
            elif self.random.random() < 0.2:
                connection.splits(told)
            else:
                connection.says(told)

    def catch_up(self) -> None:
        """Send what was delayed."""
        for connection, told in self._delayed:
            connection.says(told)
        self._delayed.clear()

    def open(self) -> list[Connection]:
        """Who hears events: from the handshake on."""
        return [each for each in self.scene.server.connections if not each.closed and each.request]

    def serve(self) -> bool:
        """Answer what has come; returns whether there was anything."""
        busy = False
        for number, connection in enumerate(self.scene.server.connections):
            done = self._handled.setdefault(number, 0)
            for frame in connection.frames[done:]:
                self._answer(connection, frame)
                busy = True
            self._handled[number] = len(connection.frames)
        return busy

    def _answer(self, connection: Connection, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "ping":
                connection.says(message("pong", position={"since": "0"}))
            case "authenticate":
                good = self.random.random() < 0.7
                expiry = self.scene.report["at"] / 1000 + LIFE_S
                connection.says(message("authenticated", {"expires_at": expiry}) if good else refusal("AUTH_FAILED"))
            case "resume" if self.random.random() < 0.15:
                connection.says(refusal("RATE_LIMITED", retry_after=self.random.choice([1, 3])))
            case "resume":
                position = frame["data"]["position"]
                known = int(position.get("calls/1", position["since"]))
                missed = range(known + 1, self.told + 1)[:AT_ONCE]
                last = missed[-1] if missed else known
                if missed:
                    connection.says([self.event(number, live=False) for number in missed])
                connection.says(resumed({"calls/1": str(last)}, complete=last == self.told))

    def harm(self) -> None:
        """Do something to the connection, or to the handshakes to come."""
        server, chance = self.scene.server, self.random
        connection = chance.choice(self.open()) if self.open() else None
        deed = chance.choice(["drop", "cut", "cut", "freeze", "close", "restart", "refuse", "move", "error", "sleep"])
        if deed == "refuse":
            server.plans.append(chance.choice([500, 429, 503, 401]))
        elif connection is None:
            return
        elif deed == "drop":
            connection.drops()
        elif deed == "cut":
            connection.cuts_after(chance.randrange(400))
        elif deed == "freeze":
            connection.freezes()
        elif deed == "close":
            connection.closes(chance.choice([1000, 1001, 1008, 1011, 4000]))
        elif deed == "restart":
            for each in self.open():
                each.closes(1012)
            server.plans += [503] * chance.randrange(3)
        elif deed == "move":
            connection.says(message("reconnect", {"within_seconds": chance.choice([0, 5, 60])}))
        elif deed == "error":
            connection.says(refusal(chance.choice(["CONNECTION_LIMIT", "INTERNAL", "AUTH_FAILED"]), retry_after=2))
            connection.closes(1000)


async def rests(scene: Scene, service: Service) -> None:
    """Serve until neither side does anything more without time passing."""
    before: Any = None
    while True:
        busy = service.serve()
        await asyncio.sleep(0.001)
        report = await scene.do("look")
        counts = [len(report["heard"]), len(report["sent"]), len(report["states"])]
        now = [*counts, *report["received"], [len(each.frames) for each in scene.server.connections]]
        if not busy and now == before:
            return
        before = now


@pytest.mark.parametrize("seed", range(1, 6))
async def test_b43_whatever_happens_all_events_are_heard_in_order_once(scene: Scene, seed: int) -> None:
    service = Service(scene, seed)
    chances = [service.random.random() for _ in range(97)]
    await scene.opens(tokens=[{"lasts": LIFE_S}], chances=chances)
    await scene.server.connections[0].hears("ping")
    await rests(scene, service)  # from the first answer on, the client knows where it is
    for _ in range(STEPS):
        for _ in range(service.random.randrange(3)):
            service.tell()
        if service.random.random() < 0.3:
            service.harm()
        if service.random.random() < 0.5:
            service.catch_up()
        if service.random.random() < 0.02:
            await scene.do("sleep", ms=3_600_000)
        await scene.passes(service.random.choice([10, 500, 5_000, 60_000]))
        await rests(scene, service)
    scene.server.plans.clear()
    service.tell()
    service.catch_up()
    for _ in range(600):
        await rests(scene, service)
        if service.told in scene.calls():
            break
        await scene.passes(1_000)
    assert scene.calls() == list(range(1, service.told + 1))
    assert len(scene.report["opened"]) > 5
    assert scene.report["failures"] == []
