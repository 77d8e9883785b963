"""`watch` and `unwatch` of one connection by several function instances at once, over the strict DynamoDB."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from realtime.aws import clients
from realtime.errors import BadRequest
from realtime.tables import TableNames, Tables
from realtime.tables.connections import Connection
from realtime.tables.transactions import Transaction
from realtime.watch_state import MAX_WATCHED, make_revision
from realtime.watching import Watching
from tests.support.cloud import STORY_BEGINS, Cloud

NOW = STORY_BEGINS * 1000
ONE = Connection("one=", "presence", "5", NOW, STORY_BEGINS + 3600)
ROUNDS = 100


@pytest.fixture
def watching(strict_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Watching:
    """Watching, by calls that take a random while, so that threads overtake each other."""
    tables = Tables(clients.client("dynamodb"), TableNames("ConnectionsTable", "UsersTable", "EventsTable"))
    writes = tables.connections.registration_writes(ONE, ["presence/*/1"], STORY_BEGINS + 900)
    Transaction(clients.client("dynamodb")).add(*writes).commit("a test")
    pause = threading.Event().wait  # `time.sleep` is recorded here
    monkeypatch.setattr(time, "sleep", pause)
    assert strict_cloud.strict is not None
    call, chance = strict_cloud.strict.call, random.Random(17)

    def wait_and_call(operation: str, request: dict[str, object]) -> dict[str, object]:
        pause(chance.uniform(0, 0.004))
        return call(operation, request)

    monkeypatch.setattr(strict_cloud.strict, "call", wait_and_call)
    return Watching(tables.connections, tables.watched)


def watched(cloud: Cloud) -> set[str]:
    """The users whose audiences the connection subscribes to."""
    kind = "presence/"
    return {each.removeprefix(kind) for each in cloud.audiences_of("one=") if each.startswith(kind)}


def at_once(frames: Sequence[Callable[[], object]]) -> list[object]:
    """Handle frames at once, and return their answers or errors."""

    def answer(frame: Callable[[], object]) -> object:
        try:
            return frame()
        except BadRequest as problem:
            return problem

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(answer, frames))


def test_of_watch_and_unwatch_back_to_back_the_last_sent_holds(strict_cloud: Cloud, watching: Watching) -> None:
    sent = NOW
    for number in range(ROUNDS):
        first, last = (watching.watch, watching.unwatch) if number % 2 else (watching.unwatch, watching.watch)
        revisions = [make_revision(sent, "AAAAAAAAAAAAAAA="), make_revision(sent + number % 3, "AAAAAAAAAAAAAAE=")]
        at_once([lambda: first(ONE, ["7"], revisions[0], sent), lambda: last(ONE, ["7"], revisions[1], sent)])  # noqa: B023
        assert ("7" in watched(strict_cloud)) is (last == watching.watch), number
        sent += 50


def test_sixty_and_sixty_at_once_are_never_more_than_a_hundred(strict_cloud: Cloud, watching: Watching) -> None:
    frames = [
        lambda name=name, number=number: watching.watch(
            ONE, [f"{name}{each}" for each in range(60)], make_revision(NOW + number, "AAAA"), NOW
        )
        for number, name in enumerate("ab")
    ]
    answers = at_once(frames)
    assert sum(isinstance(each, BadRequest) for each in answers) == 1
    assert len(watched(strict_cloud)) == 60 <= MAX_WATCHED


@pytest.mark.flaky(reruns=2)  # on a busy machine the threads may use up the time that conflicts may take
def test_five_at_once_watch_a_hundred_exactly(strict_cloud: Cloud, watching: Watching) -> None:
    frames = [
        lambda number=number: watching.watch(
            ONE, [str(20 * number + each) for each in range(20)], make_revision(NOW + number, "AAAA"), NOW
        )
        for number in range(6)
    ]
    answers = at_once(frames)
    assert sum(isinstance(each, BadRequest) for each in answers) == 1
    assert len(watched(strict_cloud)) == MAX_WATCHED
    assert "*/1" not in watched(strict_cloud)
