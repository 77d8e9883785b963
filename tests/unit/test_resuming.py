"""Clients that resume by position miss nothing, whatever happens in between, and receive next to nothing twice."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from realtime.positions import LATEST_MS
from realtime.posted import SharedPositions
from tests.support.resuming import START, Client, World
from tests.unit.fakes import FakePosted

MINE, EVERYONES, OTHER_SHARD = "notifications/123", "notifications/*/0", "notifications/*/1"
AUDIENCES = (MINE, EVERYONES)
INSTANCES = 3


class Interleavings(RuleBasedStateMachine):
    """Any order of writes, batches by any instance, batches handed back, drops, and answers that are cut short."""

    @initialize(filtered=st.booleans())
    def begin(self, filtered: bool) -> None:
        types = frozenset({"system_notification"}) if filtered else frozenset[str]()
        noted = FakePosted()
        self.world = World(Client(AUDIENCES, types), [SharedPositions(noted) for _ in range(INSTANCES)])
        self.filtered = filtered

    @rule(
        audience=st.sampled_from([MINE, EVERYONES, "every shard"]),
        late_ms=st.one_of(st.just(0), st.integers(0, 3000), st.integers(0, LATEST_MS)),
        wanted=st.booleans(),
        hidden=st.booleans(),
    )
    def write(self, audience: str, late_ms: int, wanted: bool, hidden: bool) -> None:
        audiences = (EVERYONES, OTHER_SHARD) if audience == "every shard" else (audience,)
        kind = "system_notification" if wanted else "favorite_added"
        hidden_from = frozenset({"123"}) if hidden else frozenset[str]()
        event_id = self.world.write(*audiences, late_ms=late_ms, kind=kind, hidden_from=hidden_from)
        is_due = not hidden and (wanted or not self.filtered)
        # It cannot resume before it has heard anything: the first connection counts from the first answer on.
        if is_due and self.world.client.position:
            self.world.due.add(event_id)

    @rule(ms=st.sampled_from([1, 10, 250, 1000, 5000, 60_000]))
    def wait(self, ms: int) -> None:
        self.world.now_ms += ms

    @precondition(lambda self: any(self.world.pending(each) for each in AUDIENCES))
    @rule(audience=st.sampled_from(AUDIENCES), size=st.integers(1, 5), instance=st.integers(0, INSTANCES - 1))
    def begin_batch(self, audience: str, size: int, instance: int) -> None:
        self.world.begin(audience, size, instance)

    @precondition(lambda self: self.world.batches)
    @rule(audience=st.sampled_from(AUDIENCES))
    def post(self, audience: str) -> None:
        self.world.post(audience)

    @precondition(lambda self: self.world.batches)
    @rule(audience=st.sampled_from(AUDIENCES))
    def end_batch(self, audience: str) -> None:
        self.world.end(audience)

    @precondition(lambda self: self.world.batches)
    @rule(audience=st.sampled_from(AUDIENCES), done=st.integers(0, 5))
    def hand_back(self, audience: str, done: int) -> None:
        self.world.end(audience, done)

    @precondition(lambda self: self.world.client.connection and not self.world.answer)
    @rule()
    def drop(self) -> None:
        self.world.drop()

    @precondition(lambda self: self.world.client.connection is None)
    @rule()
    def connect(self) -> None:
        self.world.connect()
        self.world.ask()

    @precondition(lambda self: self.world.client.connection and not self.world.answer)
    @rule()
    def ask(self) -> None:
        self.world.ask()

    @precondition(lambda self: self.world.answer)
    @rule()
    def step(self) -> None:
        self.world.step()

    @precondition(lambda self: self.world.answer)
    @rule()
    def drop_in_an_answer(self) -> None:
        self.world.drop()

    @invariant()
    def everything_is_recovered(self) -> None:
        assert all(each["recovered"] for each in self.world.client.told)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.drop()
        for audience in AUDIENCES:
            while audience in world.batches or world.pending(audience):
                world.begin(audience, 5, 0)
                world.end(audience)
        world.recover()
        assert not world.missed()
        before = world.sent
        world.drop()
        world.recover()
        assert world.sent == before  # who has everything is sent nothing


Interleavings.TestCase.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
test_no_order_of_events_loses_one = Interleavings.TestCase


SECONDS, RATE, EVENTS, DROPS = 240, 100, 150, 17
POLL_MS, ROUND_TRIP_MS = 250, 100  # Lambda asks a stream for records four times a second


def busy_day(chance: random.Random, audiences: tuple[str, ...], late: float) -> Iterator[tuple[float, str, str]]:
    """Yield what happens: the time (ms), the kind of thing, and the audience."""
    end = SECONDS * 1000
    for audience in audiences:
        at = chance.expovariate(RATE / 1000)
        while at < end:
            yield at, "write late" if chance.random() < late else "write", audience
            at += chance.expovariate(RATE / 1000)
        for poll in range(chance.randrange(POLL_MS), end + POLL_MS, POLL_MS):
            yield poll, "batch", audience
    for number in range(EVENTS):
        yield (number + 0.5) * end / EVENTS, "numbered", audiences[0]
    for _ in range(DROPS):
        gone = chance.uniform(2_000, end - 8_000)
        back = gone + chance.uniform(200, 3_000)
        yield gone, "drop", ""
        yield back, "connect", ""
        yield back + ROUND_TRIP_MS, "ask", ""
        yield back + ROUND_TRIP_MS * 1.5, "answer", ""


@pytest.mark.parametrize(("seed", "late", "instances"), [(1, 0.0, 1), (2, 0.01, 3)])
def test_a_client_on_three_busy_audiences_hears_all_and_next_to_nothing_twice(
    seed: int, late: float, instances: int
) -> None:
    """Three audiences with 100 messages a second each, 150 numbered events and 17 drops, in four minutes.

    What comes twice is what was written before the new connection and posted after it: each resume repeats what an
    audience gets within the delay of the stream and one round trip. `late`: the share of entries that are written up to
    3 s after their id was made. `instances`: how many post, in any turn.
    """
    chance = random.Random(seed)
    noted = FakePosted()
    world = World(Client((*AUDIENCES, "calls/123")), [SharedPositions(noted) for _ in range(instances)])
    world.connect()
    world.recover()
    numbered = set()
    for at, kind, audience in sorted(busy_day(chance, (*AUDIENCES, "calls/123"), late)):
        world.now_ms = START + int(at)
        match kind:
            case "numbered":
                numbered.add(world.write(audience))
            case "write" | "write late":
                world.due.add(world.write(audience, late_ms=chance.randrange(3000 if kind == "write late" else 20)))
            case "batch":
                world.end(audience)
                world.begin(audience, 500, chance.randrange(instances))
                while world.post(audience):
                    pass
            case "drop":
                world.drop()
            case "connect" if world.client.connection is None:
                world.connect()
            case "ask":
                world.ask()
            case "answer" if world.client.connection:
                world.recover()
    world.drop()
    world.recover()
    assert numbered <= world.client.heard.keys()
    assert len(numbered) == EVENTS
    assert not world.missed()
    assert all(each["recovered"] for each in world.client.told)
    assert world.duplicates < 0.02 * world.sent, f"{world.duplicates} of {world.sent}"
