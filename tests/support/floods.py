"""Floods over many function instances, in simulated time, over the strict DynamoDB.

A frame is handled at one moment, at which its write is made, but it has read its session a while before: the read, the
work, the write and the lag of an eventually consistent read lie between. Each frame meets an instance at random.

`python -m tests.support.floods` prints the table of docs/decisions/0038.
"""

from __future__ import annotations

import logging
import random
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from realtime.errors import RateLimited
from realtime.frame_limits import FrameLimits
from realtime.rate_limit import Rate, RateLimit
from realtime.refusals import Addressee
from realtime.tables.connections import Connection, Connections, Session
from realtime.tables.rates import Rates
from realtime.tables.transactions import Transaction
from tests.model.tables import Tables
from tests.support.strict_dynamodb import Client, StrictDynamoDB
from tests.unit.fakes import Clock, as_client

RATE, BURST = 10, 20
USER_RATE = 40
LAG = (0.01, 0.04)  # s
BEGIN = 1_705_314_600.0


@dataclass
class Flood:
    """A fleet of instances, and what became of the frames that it was sent; all times in seconds."""

    seed: int
    instances: int
    connections: int = 1
    counted: int = 6
    answered: list[float] = field(default_factory=list)
    refused: list[tuple[float, int]] = field(default_factory=list)  # when, and the wait
    closed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock = Clock(BEGIN)
        self.tables = Tables()
        self.writes: Counter[str] = Counter()
        self.dynamodb = StrictDynamoDB(self._perform, self.tables.get, clock=self.clock)
        client = as_client(Client(self.dynamodb.call, lambda _: None))
        self.table = Connections(client, "ConnectionsTable")
        self.shown: dict[str, list[tuple[float, Session]]] = {}
        for number in range(self.connections):
            connection = Connection(f"{number}=", "feed", "123", int(BEGIN * 1000), int(BEGIN) + 3600)
            writes = self.table.registration_writes(connection, [], int(BEGIN) + 900)
            Transaction(client).add(*writes).commit("a test")
            self.shown[connection.connection_id] = [(0.0, Session(connection, int(BEGIN) + 900))]
        self.rates = Rates(client, "ConnectionsTable", "EventsTable")
        of_connection = Rate(RATE, BURST)
        self.fleet = [
            FrameLimits(
                self.rates,
                RateLimit(of_connection, self.clock),
                of_connection=of_connection,
                of_user=Rate(USER_RATE, BURST * USER_RATE / RATE),
                counted=self.counted,
                close=self._close,
                chance=self.chance.random,
            )
            for _ in range(self.instances)
        ]
        self.writes.clear()

    def _perform(self, operation: str, request: dict[str, object]) -> dict[str, object]:
        self.writes[str(request.get("TableName", ""))] += operation == "update_item"
        return self.tables.call(operation, request)

    def _close(self, connection: Addressee, frame: str, now_ms: int) -> None:
        assert '"RATE_LIMITED"' in frame
        self.closed.append(self.clock.now - BEGIN)

    def send(self, times: Iterable[float], connection_id: str = "0=", tokens: float = 1) -> Flood:
        """Let a connection send frames at these times, in order."""
        for at in times:
            self._handle(at, connection_id, tokens)
        return self

    def _handle(self, at: float, connection_id: str, tokens: float) -> None:
        self.clock.now = BEGIN + at
        now_ms, limits = int(self.clock.now * 1000), self.chance.choice(self.fleet)
        shown = self.shown[connection_id]
        read_at = self.clock.now - self.chance.uniform(*LAG)
        session = shown[bisect_right(shown, read_at, key=lambda each: each[0]) - 1][1]
        before = self.writes.total()
        try:
            is_known = limits.check_here(session.connection, tokens, now_ms)
            limits.check(session, tokens, now_ms, is_known=is_known)
            self.answered.append(at)
        except RateLimited as problem:
            self.refused.append((at, problem.retry_after or 0))
        if self.writes.total() > before and (now := self.table.session(connection_id)):
            shown.append((self.clock.now, now))


def limit(seconds: float) -> float:
    """How many frames a connection may send in so many seconds."""
    return BURST + RATE * seconds


def main() -> None:
    """Print how many frames of a flood are answered, by how fast it comes."""
    logging.disable(logging.CRITICAL)
    for instances, counted in ((8, 6), (1000, 6), (1000, 1)):
        for frames, seconds in ((150, 1.25), (600, 3.9), (600, 2.0), (600, 1.0), (600, 0.25), (600, 0.05)):
            times = [seconds * number / frames for number in range(frames)]
            answered = sorted(len(Flood(seed, instances, counted=counted).send(times).answered) for seed in range(20))
            row = (instances, counted, frames, seconds, limit(seconds), answered[10], answered[-1])
            sys.stdout.write(f"| {' | '.join(f'{each:g}' for each in row)} |\n")


if __name__ == "__main__":
    main()
