from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import pytest

from realtime.errors import Internal, Unavailable
from realtime.everyone import BASE_KEPT_MS, CLAIM_MS, FEW, TAIL_KEPT_MS, Everyone, pack
from realtime.presence import Rules, consequences
from realtime.tables.entries import Entry, read_entries
from realtime.tables.outbox import Outbox
from realtime.tables.users import User, Users
from realtime.tables.views import Head, Made, Part, Views

LOG = "presence/*/0"
RULES = Rules(shards=1, feed_role="listener", history_seconds=3600)
CLAIMS: dict[Part, str] = {"base": "base_claimed_until_ms", "tail": "claimed_until_ms"}
START_MS = 1_705_314_600_000


class World:
    """The tables, and a clock that all instances share; sleeping moves it, and `meanwhile` happens in each sleep."""

    def __init__(self, online: int) -> None:
        self.now_ms = START_MS
        self.users: dict[str, User] = {}
        self.entries: list[Entry] = []
        self.index: dict[str, User] | None = None  # None: it does not lag
        self.views = MemoryViews()
        self.index_reads = 0
        self.on_reading: Callable[[], None] | None = None  # happens once, as who is online is read
        self.meanwhile: Callable[[], None] = lambda: None
        for number in range(online):
            self.users[str(number)] = _user(str(number))

    def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.meanwhile()

    def change(self, user_id: str, *, recorded: bool = True, **changes: object) -> Entry:
        """Change a user; record the entries that follow, or return one that is still to be recorded."""
        old = self.users[user_id]
        new = replace(old, version=old.version + 1, changed_at_ms=self.now_ms, **changes)  # type: ignore[arg-type]
        self.users[user_id] = new
        (change,) = consequences(old, new, RULES).changes
        (entry, *_) = (each for each in read_entries(change.as_item(), "wide") if each.audience == LOG)
        if recorded:
            self.entries.append(entry)
        return entry

    def instance(self) -> Everyone:
        return Everyone(_Users(self), _Outbox(self), self.views, clock=lambda: self.now_ms / 1000, pause=self.sleep)

    def shared(self) -> None:
        """Let two clients ask, so that a base is stored, and let its time of making pass."""
        self.instance().read(LOG)
        self.instance().read(LOG)
        self.now_ms += TAIL_KEPT_MS


class _Users(Users):
    def __init__(self, world: World) -> None:
        self._world = world

    def online(self) -> Iterator[User]:
        if self._world.on_reading is not None:
            happens, self._world.on_reading = self._world.on_reading, None
            happens()
        self._world.index_reads += 1
        shown = self._world.users if self._world.index is None else self._world.index
        return iter([user for user in shown.values() if user.is_online])

    def get_many(self, user_ids: Collection[str]) -> list[User]:
        return [self._world.users[each] for each in user_ids]


class _Outbox(Outbox):
    def __init__(self, world: World) -> None:
        self._world = world

    def changed_since(self, log: str, event_id: str) -> Iterator[tuple[str, int]]:
        return iter([(str(each.subject), each.version) for each in self._world.entries if each.event_id > event_id])


class MemoryViews(Views):
    """Views in memory, with the conditions of the real ones."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.rows: dict[str, bytes] = {}
        self.reads: list[str] = []

    def head(self, name: str) -> Head | None:
        return self.heads.get(name)

    def claim(self, name: str, part: Part, now_ms: int, until_ms: int) -> bool:
        head = self.heads.get(name, Head())
        if getattr(head, CLAIMS[part]) >= now_ms:
            return False
        made: dict[str, Any] = {CLAIMS[part]: until_ms}
        self.heads[name] = replace(head, claimed_at_ms=now_ms, **made)
        return True

    def wait_for(self, name: str, now_ms: int) -> None:
        self.heads[name] = replace(self.heads[name], awaited_at_ms=now_ms)

    def release(self, name: str, part: Part, until_ms: int, users: int | None = None) -> None:
        self._end(name, part, until_ms, {} if users is None else {"users": users})

    def publish_base(self, name: str, users: int, base: Made, step: Made | None, step_from: str, until_ms: int) -> bool:
        made = {"users": users, "base": base, "step": step, "step_from": step_from, "tail": None}
        return self._end(name, "base", until_ms, {**made, CLAIMS["tail"]: 0})

    def publish_tail(self, name: str, tail: Made, until_ms: int) -> bool:
        return self._end(name, "tail", until_ms, {"tail": tail})

    def _end(self, name: str, part: Part, until_ms: int, values: dict[str, Any]) -> bool:
        head = self.heads[name]
        if getattr(head, CLAIMS[part]) != until_ms:
            return False
        self.heads[name] = replace(head, **{CLAIMS[part]: 0, **values})
        return True

    def write(self, rows: bytes, begun_ms: int) -> Made:
        made = Made(f"view {len(self.rows)}", begun_ms, 1)
        self.rows[made.view_id] = rows
        return made

    def read(self, made: Made) -> bytes | None:
        self.reads.append(made.view_id)
        return self.rows.get(made.view_id)


def _user(user_id: str) -> User:
    return User(
        user_id=user_id,
        username=f"user {user_id}",
        role="listener",
        connection_ids=frozenset({"phone"}),
        is_online=True,
        is_busy=False,
        last_seen_ms=START_MS,
        left_at_ms=0,
        version=1,
        changed_at_ms=START_MS - 3_600_000,
        hidden_from=frozenset(),
    )


@pytest.fixture
def world() -> World:
    return World(online=FEW)


def test_with_few_online_everyone_is_read_for_each_client_and_nothing_is_stored() -> None:
    world = World(online=FEW - 1)
    for _ in range(3):
        assert len(world.instance().read(LOG)) == FEW - 1
    assert (world.index_reads, world.views.rows) == (3, {})


def test_when_it_is_not_known_how_many_are_online_one_instance_reads_and_the_others_wait(world: World) -> None:
    world.views.claim(LOG, "base", world.now_ms, world.now_ms + CLAIM_MS)
    world.meanwhile = lambda: world.views.release(LOG, "base", START_MS + CLAIM_MS, 5)
    world.instance().read(LOG)
    assert world.now_ms > START_MS
    assert world.index_reads == 1


def test_a_client_that_asks_alone_stores_nothing(world: World) -> None:
    for _ in range(3):
        world.instance().read(LOG)
        world.now_ms += BASE_KEPT_MS
    assert (world.index_reads, world.views.rows) == (3, {})


def test_the_first_base_is_stored_if_others_wait_for_it(world: World) -> None:
    """To make another for them would take seconds again."""

    def another_asks() -> None:
        with pytest.raises(Unavailable):
            world.instance().read(LOG)

    world.on_reading = another_asks
    world.instance().read(LOG)
    assert world.views.heads[LOG].base is not None
    world.now_ms += TAIL_KEPT_MS
    assert len(world.instance().read(LOG)) == FEW
    assert world.index_reads == 1


def test_the_next_clients_share_what_the_second_one_read(world: World) -> None:
    world.shared()
    for _ in range(3):
        assert len(world.instance().read(LOG)) == FEW
        world.now_ms += TAIL_KEPT_MS
    assert world.index_reads == 2


def test_everyone_is_read_anew_when_the_base_is_old(world: World) -> None:
    world.shared()
    world.now_ms += BASE_KEPT_MS
    world.instance().read(LOG)
    assert world.index_reads == 3


def test_a_user_is_shown_from_the_base_as_from_the_table(world: World) -> None:
    world.change("7", is_busy=True, hidden_from=frozenset({"5"}), listed_blocks=70)
    direct = world.instance().read(LOG)["7"]
    world.shared()
    shared = world.instance().read(LOG)["7"]
    assert shared == direct
    assert json.loads(shared.state) == {
        "username": "user 7",
        "user_id": 7,
        "is_online": True,
        "is_busy": True,
        "last_seen": "2024-01-15T10:30:00.000Z",
        "version": 2,
    }


def test_a_change_after_the_base_is_shown(world: World) -> None:
    world.shared()
    world.change("7", is_busy=True)
    assert world.instance().read(LOG)["7"].version == 2


def test_a_change_that_was_recorded_before_the_client_asked_is_never_missing(world: World) -> None:
    world.shared()
    world.instance().read(LOG)  # makes a tail, which is young enough for another second
    world.change("7", is_busy=True)
    assert world.instance().read(LOG)["7"].version == 2


def test_a_change_that_is_recorded_late_is_shown(world: World) -> None:
    late = world.change("7", recorded=False, is_busy=True)
    world.index = {user_id: _user(user_id) for user_id in world.users}  # it lags
    world.shared()
    world.entries.append(late)
    assert world.instance().read(LOG)["7"].version == 2


def test_a_user_who_left_after_the_base_is_shown_offline_with_a_version(world: World) -> None:
    world.shared()
    world.change("7", is_online=False)
    row = world.instance().read(LOG)["7"]
    assert (row.version, json.loads(row.state)["is_online"]) == (2, False)


def test_a_tail_keeps_what_the_one_before_showed(world: World) -> None:
    world.shared()
    world.change("7", is_busy=True)
    world.instance().read(LOG)
    world.now_ms += TAIL_KEPT_MS
    world.change("8", is_busy=True)
    rows = world.instance().read(LOG)
    assert (rows["7"].version, rows["8"].version) == (2, 2)


def test_a_user_whose_change_the_tail_holds_is_not_read_again(world: World) -> None:
    world.shared()
    world.change("7", is_busy=True)
    world.instance().read(LOG)
    world.now_ms += TAIL_KEPT_MS
    del world.users["7"]  # so that reading it would fail
    assert world.instance().read(LOG)["7"].version == 2


def test_who_comes_second_waits_for_what_the_first_makes() -> None:
    world = World(online=FEW)
    world.instance().read(LOG)
    began_ms = world.now_ms
    assert world.views.claim(LOG, "base", began_ms, began_ms + CLAIM_MS)
    made = world.views.write(pack(world.instance().read_anew(LOG).values()), began_ms + 200)

    def publish() -> None:
        world.views.publish_base(LOG, FEW, made, None, "", began_ms + CLAIM_MS)

    world.meanwhile = publish
    world.index_reads = 0
    assert len(world.instance().read(LOG)) == FEW
    assert world.index_reads == 0


def test_a_base_is_published_however_long_its_making_takes_within_the_functions_time(world: World) -> None:
    """`default` has a third of a core: 40,000 users take it seconds."""
    world.instance().read(LOG)

    def takes_long() -> None:
        world.now_ms += CLAIM_MS // 2
        with pytest.raises(Unavailable):
            world.instance().read(LOG)  # nobody else begins the same

    world.on_reading = takes_long
    assert len(world.instance().read(LOG)) == FEW
    assert world.views.heads[LOG].base is not None
    assert world.index_reads == 2


def test_while_a_base_is_made_others_get_the_one_before_with_a_tail(world: World) -> None:
    world.shared()
    world.instance().read(LOG)
    world.now_ms += BASE_KEPT_MS - 1
    before = world.views.heads[LOG].base
    shown: list[int] = []

    def another_asks() -> None:
        world.change("7", is_busy=True)
        shown.append(world.instance().read(LOG)["7"].version)
        assert world.views.heads[LOG].base == before

    world.on_reading = another_asks
    world.instance().read(LOG)
    assert shown == [2]
    head = world.views.heads[LOG]
    assert (head.base != before, head.tail) == (True, None)
    assert world.instance().read(LOG)["7"].version == 2


def test_a_tail_of_the_base_before_is_not_shown_with_the_new_one(world: World) -> None:
    world.shared()
    head = world.views.heads[LOG]
    assert world.views.claim(LOG, "tail", world.now_ms, world.now_ms + CLAIM_MS)
    until_ms = world.now_ms + CLAIM_MS
    world.now_ms += BASE_KEPT_MS - 1
    world.instance().read(LOG)
    assert world.views.heads[LOG].base != head.base
    assert not world.views.publish_tail(LOG, Made("late", world.now_ms, 1), until_ms)


def test_if_the_maker_dies_another_one_makes_it_when_the_claim_ends(world: World) -> None:
    world.instance().read(LOG)
    began_ms = world.now_ms
    assert world.views.claim(LOG, "base", began_ms, began_ms + CLAIM_MS)
    world.now_ms += CLAIM_MS - 200
    assert len(world.instance().read(LOG)) == FEW
    assert CLAIM_MS < world.now_ms - began_ms < CLAIM_MS + 500
    assert world.index_reads == 2


def test_a_maker_that_fails_leaves_the_making_to_others(world: World) -> None:
    def fails() -> None:
        raise Unavailable("reading the users who are online")

    world.on_reading = fails
    with pytest.raises(Unavailable):
        world.instance().read(LOG)
    began_ms = world.now_ms
    assert len(world.instance().read(LOG)) == FEW
    assert world.now_ms == began_ms


def test_a_client_that_waits_in_vain_is_asked_to_come_again_and_reads_nothing(world: World) -> None:
    """If each of these clients read everyone, the tables would answer nobody."""
    world.views.claim(LOG, "base", world.now_ms, world.now_ms + 60_000)
    waits = set()
    for _ in range(40):
        with pytest.raises(Unavailable) as refused:
            world.instance().read(LOG)
        waits.add(Internal.because_of(refused.value).retry_after)
        world.now_ms = START_MS
    assert len(waits) > 2, "not all at once"
    assert world.index_reads == 0


def test_a_base_of_long_ago_gets_no_tail(world: World) -> None:
    world.shared()
    world.now_ms += 3_600_000
    world.views.claim(LOG, "base", world.now_ms, world.now_ms + 60_000)
    with pytest.raises(Unavailable):
        world.instance().read(LOG)


@pytest.mark.parametrize("lost", ["base", "tail"])
def test_a_making_of_which_a_part_is_missing_is_made_anew(world: World, lost: str) -> None:
    world.shared()
    world.change("7", is_busy=True)
    world.instance().read(LOG)
    made = getattr(world.views.heads[LOG], lost)
    del world.views.rows[made.view_id]
    assert world.instance().read(LOG)["7"].version == 2


def test_an_instance_reads_a_base_once(world: World) -> None:
    world.shared()
    base = world.views.heads[LOG].base
    assert base is not None
    instance = world.instance()
    for _ in range(3):
        instance.read(LOG)
        world.now_ms += TAIL_KEPT_MS
    assert world.views.reads.count(base.view_id) == 1


def test_instances_that_learn_of_a_large_base_in_the_same_moment_read_it_at_different_times(world: World) -> None:
    world.shared()
    head = world.views.heads[LOG]
    assert head.base is not None
    world.views.heads[LOG] = replace(head, base=replace(head.base, parts=5))
    pauses: list[float] = []
    for _ in range(50):
        instance = world.instance()
        began_ms = world.now_ms
        instance.read(LOG)
        pauses.append(world.now_ms - began_ms)
        world.now_ms = began_ms
    assert len(set(pauses)) > 25
    assert max(pauses) <= 2_000


def test_an_instance_that_knows_the_base_before_reads_only_how_the_new_one_differs() -> None:
    world = World(FEW + 10)
    world.shared()
    instance = world.instance()
    instance.read(LOG)
    world.change("7", is_busy=True)
    left = world.users.pop("8")
    world.now_ms += BASE_KEPT_MS - 1
    world.instance().read(LOG)  # makes the next base
    world.views.reads.clear()
    world.now_ms += TAIL_KEPT_MS
    rows = instance.read(LOG)
    head = world.views.heads[LOG]
    assert head.base is not None
    assert head.step is not None
    assert world.views.reads == [head.step.view_id]
    assert rows == world.instance().read_anew(LOG)
    assert left.user_id not in rows


def test_an_instance_that_knows_an_older_base_reads_the_new_one(world: World) -> None:
    world.shared()
    instance = world.instance()
    instance.read(LOG)
    for user_id in ("7", "8"):
        world.change(user_id, is_busy=True)
        world.now_ms += BASE_KEPT_MS - 1
        world.instance().read(LOG)  # makes a base
        world.now_ms += TAIL_KEPT_MS
        world.instance().read(LOG)  # and a tail
    assert world.views.heads[LOG].step_from not in {"", "view 0"}
    world.now_ms += TAIL_KEPT_MS
    assert instance.read(LOG) == world.instance().read_anew(LOG)


def test_when_most_have_left_everyone_is_read_for_each_client_again(world: World) -> None:
    world.shared()
    for user_id in list(world.users)[10:]:
        del world.users[user_id]
    world.now_ms += BASE_KEPT_MS
    for _ in range(3):
        world.instance().read(LOG)
    written = len(world.views.rows)
    for _ in range(3):
        assert len(world.instance().read(LOG)) == 10
    assert len(world.views.rows) == written
