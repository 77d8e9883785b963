"""Presence for everyone under load, in virtual time: how late it is, what is left out, and whether all are right.

One account-wide bucket of 10,000 requests a second, of which the wide lane may take a part. Fifty calls and five
notifications a second are told beside it, and a notification for everyone now and then. See `bench.presence_world`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from bench.presence_world import ACCOUNT_RATE, EPOCH, SYNC_APART_S, SYNC_WITHIN_S, Lane, World
from realtime import messages
from realtime.ids import make_event_id
from realtime.presence import Rules, consequences
from realtime.tables.connections import Subscriber
from realtime.tables.entries import Entry
from realtime.tables.users import User
from tools import results

USERS = 2_000  # who come and go
CALLS_A_SECOND, NOTIFICATIONS_A_SECOND, TO_EVERYONE_EACH_S = 50, 5, 5
ON_NOTIFICATIONS = 100  # connections that hear those for everyone
RULES = Rules(shards=1, feed_role="listener", history_seconds=3600)


@dataclass(frozen=True)
class Case:
    """A load: connections on presence that do not watch, whether they take arrays, and changes of users a second.

    `posts` is what the wide lane may take: 4,500 a second by default; 8,100 with RequestsPerSecond=10000 and
    PostsShare=nine-tenths; 9,500 if the account has room for what else there is beside that.
    """

    name: str
    hearers: int
    batch: bool
    changes: float
    evenly: bool = False  # else at random moments
    posts: int = 9_500
    seconds: int = 60

    @property
    def key(self) -> str:
        """Return what its figures are called by."""
        moments = "_evenly" if self.evenly else ""
        return f"{self.hearers}_{self.changes:g}{moments}" + (f"_{self.posts}" if self.posts != Case.posts else "")


CASES = (
    Case("calls and notifications alone", 0, batch=False, changes=0),
    Case("20,000 with batch=true, 50 changes/s", 20_000, batch=True, changes=50),
    Case("the same, 8,100 posts/s", 20_000, batch=True, changes=50, posts=8_100),
    Case("the same, 4,500 posts/s", 20_000, batch=True, changes=50, posts=4_500),
    Case("3,000 printed clients, 3 changes/s", 3_000, batch=False, changes=3, evenly=True),
    Case("the same at random moments", 3_000, batch=False, changes=3),
    Case("3,000, 1.4 changes/s, 4,500 posts/s", 3_000, batch=False, changes=1.4, evenly=True, posts=4_500),
    Case("3,000 printed clients, 10 changes/s", 3_000, batch=False, changes=10),
    Case("3,000 printed clients, 50 changes/s", 3_000, batch=False, changes=50),
)


def run(case: Case, seed: int) -> World:
    """Run one case to its end: until all that was recorded is posted, and all that asked are answered."""
    world = World(USERS, seed, case.seconds)
    world.add_hearers(case.hearers)
    of_presence = [Subscriber(each, "hearer", 0, batch=case.batch) for each in world.hearers]
    callers = [Subscriber(f"caller-{n}", str(n), 0) for n in range(CALLS_A_SECOND)]
    wide = Lane(
        world,
        "wide",
        {
            "presence/*/0": of_presence,
            "notifications/*/0": [Subscriber(f"on-notifications-{n}", "n", 0) for n in range(ON_NOTIFICATIONS)],
        },
        case.posts,
    )
    of_users = {f"{endpoint}/{each.user_id}": [each] for each in callers for endpoint in ("calls", "notifications")}
    narrow = Lane(world, "narrow", of_users, ACCOUNT_RATE)
    happenings = [
        *(_evenly if case.evenly else _at_random)(world, case.changes, case.seconds, "change"),
        *_at_random(world, CALLS_A_SECOND, case.seconds, "call"),
        *_at_random(world, NOTIFICATIONS_A_SECOND, case.seconds, "notification"),
        *((float(at), "everyone") for at in range(TO_EVERYONE_EACH_S, case.seconds, TO_EVERYONE_EACH_S)),
    ]
    for number, (at, what) in enumerate(sorted(happenings)):
        if what == "change":
            record = _change(world, at)
            narrow.put(at, record)
            wide.put(at, record)
        elif what == "call":
            for _ in range(2):
                narrow.put(at, _event(at, f"calls/{world.chance.randrange(len(callers))}", "call_started", number))
        elif what == "notification":
            name = f"notifications/{world.chance.randrange(len(callers))}"
            narrow.put(at, _event(at, name, "favorite_added", number))
        else:
            wide.put(at, _event(at, "notifications/*/0", "system_notification", number))
    for at in range(case.seconds, case.seconds + int(2 * (SYNC_APART_S + SYNC_WITHIN_S))):  # let those ask who must
        narrow.put(float(at), _event(at, "calls/nobody", "call_started", at))
    world.time.start(0.0, wide.run)
    world.time.start(0.0, narrow.run)
    world.time.run()
    if not (wide.is_done and narrow.is_done):
        sys.exit("a lane broke off: its error is above, and no figure of this run counts")
    return world


def _at_random(world: World, rate: float, seconds: int, what: str) -> list[tuple[float, str]]:
    return [(world.chance.random() * seconds, what) for _ in range(int(rate * seconds))]


def _evenly(_world: World, rate: float, seconds: int, what: str) -> list[tuple[float, str]]:
    return [(number / rate, what) for number in range(int(rate * seconds))]


def _change(world: World, at: float) -> dict[str, Any]:
    """Let a user come or go; return the stream's record."""
    number = world.chance.randrange(USERS)
    version = world.versions[number] = world.versions[number] + 1
    at_ms = int((EPOCH + at) * 1000)

    def user(version: int) -> User:
        return User(
            user_id=str(number),
            username="jane_smith",
            role="client",
            connection_ids=frozenset(),
            is_online=version % 2 == 1,
            is_busy=False,
            last_seen_ms=at_ms,
            left_at_ms=0,
            version=version,
            changed_at_ms=at_ms,
            hidden_from=frozenset(),
        )

    (change,) = consequences(user(version - 1), user(version), RULES).changes
    return {"dynamodb": {"NewImage": change.as_item()}}


def _event(at: float, audience: str, kind: str, number: int) -> dict[str, Any]:
    at_ms = int((EPOCH + at) * 1000)
    event_id = make_event_id(at_ms, str(number), audience)
    message = messages.encode(kind, {"user_id": number}, at_ms, event_id)
    return {"dynamodb": {"NewImage": Entry(audience, event_id, kind, message, at_ms // 1000 + 3600).as_item()}}


def main() -> None:
    """Run all cases, print their table and store the figures."""
    figures: dict[str, float] = {}
    columns = (
        "presence p50",
        "p99",
        "max s",
        "posts/s",
        "told to ask",
        "wrong",
        "calls p99",
        "notif. p99",
        "to all p99",
    )
    print(f"{'':<38}" + "".join(f"{each:>13}" for each in columns))
    for case in CASES:
        began = time.perf_counter()
        world = run(case, seed=1)
        late = world.presence
        row = (
            late.quantile(0.5),
            late.quantile(0.99),
            late.quantile(1),
            world.posts / case.seconds,
            world.stale,
            world.wrong(),
            world.calls.quantile(0.99),
            world.notifications.quantile(0.99),
            world.to_everyone.quantile(0.99),
        )
        print(f"{case.name:<38}" + "".join(f"{each:>13,.2f}" for each in row), flush=True)
        print(f"  computed in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        names = ("p50", "p99", "max", "posts", "stale", "wrong", "calls_p99", "notifications_p99", "everyone_p99")
        figures |= {f"{case.key}_{name}": value for name, value in zip(names, row, strict=True)}
    results.save("presence", figures)


if __name__ == "__main__":
    main()
