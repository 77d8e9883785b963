from __future__ import annotations

from collections.abc import Collection

import pytest

from realtime import hiding
from realtime.errors import Unavailable
from realtime.hiding import Hiding
from tests.unit.fakes import FakeBlocks


def test_a_few_users_are_asked_about_and_the_answers_are_remembered() -> None:
    blocks = FakeBlocks(("1", "666"))
    known = Hiding(blocks)
    assert known.hidden("1", 600, {"5", "666"}) == {"666"}
    assert known.hidden("1", 600, {"5", "666", "7"}) == {"666"}
    assert blocks.asked == [("1", frozenset({"5", "666"})), ("1", frozenset({"7"}))]
    assert blocks.read == []


def test_the_whole_list_is_read_when_that_costs_less() -> None:
    blocks = FakeBlocks(("1", "666"))
    known = Hiding(blocks)
    assert known.hidden("1", 100, {"5"}) == set()
    assert known.hidden("1", 100, {str(number) for number in range(1000)}) == {"666"}
    assert known.hidden("1", 100, {"666", "1001"}) == {"666"}
    assert (blocks.asked, blocks.read) == ([("1", frozenset({"5"}))], ["1"])


def test_a_list_that_was_changed_is_asked_again() -> None:
    blocks = FakeBlocks()
    known = Hiding(blocks)
    assert known.hidden("1", 600, {"5"}) == set()
    blocks.blocks.add(("1", "5"))
    assert known.hidden("1", 600, {"5"}) == set()
    assert known.hidden("1", 601, {"5"}) == {"5"}


def test_a_change_that_comes_late_is_hidden_by_what_is_known_since() -> None:
    blocks = FakeBlocks(("1", "5"))
    known = Hiding(blocks)
    known.hidden("1", 601, {"5"})
    assert known.hidden("1", 600, {"5"}) == {"5"}
    assert len(blocks.asked) == 1


def test_each_blocker_has_a_list_of_their_own() -> None:
    known = Hiding(FakeBlocks(("1", "5"), ("2", "6")))
    assert [known.hidden(blocker, 600, {"5", "6"}) for blocker in ("1", "2", "3")] == [{"5"}, {"6"}, set()]


def test_what_was_not_used_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiding, "_KEPT", 2)
    blocks = FakeBlocks()
    known = Hiding(blocks)
    for blocker in ("1", "2", "1", "3", "1", "2"):
        known.hidden(blocker, 600, {"5"})
    assert [blocker for blocker, _ in blocks.asked] == ["1", "2", "3", "2"]


def test_what_is_known_counts_once_however_often_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiding, "_KEPT", 6)
    blocks = FakeBlocks()
    known = Hiding(blocks)
    for _ in range(10):
        for blocker in ("1", "2"):
            for user_id in ("5", "6", "7"):
                known.hidden(blocker, 900, {user_id})
    assert len(blocks.asked) == 6
    known.hidden("3", 900, {"5"})  # one too many
    known.hidden("2", 900, {"5", "6", "7"})
    assert len(blocks.asked) == 7
    known.hidden("1", 900, {"5", "6", "7"})
    assert len(blocks.asked) == 8


def test_what_two_threads_learn_of_one_list_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiding, "_KEPT", 2)
    blocks = FakeBlocks()
    known = Hiding(blocks)

    class Meanwhile(FakeBlocks):
        def listed_among(self, blocker: str, others: Collection[str]) -> frozenset[str]:
            known._blocks = blocks  # the other thread asks about the same list, and is the first to keep it
            known.hidden("1", 600, {"5"})
            return frozenset()

    known._blocks = Meanwhile()
    known.hidden("1", 600, {"5"})
    known.hidden("2", 600, {"5"})
    known.hidden("1", 600, {"5"})
    assert [blocker for blocker, _ in blocks.asked] == ["1", "2"]


def test_what_could_not_be_read_is_asked_again() -> None:
    blocks = FakeBlocks(("1", "5"))
    known = Hiding(blocks)
    blocks.error = Unavailable("reading blocks: ThrottlingException")
    with pytest.raises(Unavailable):
        known.hidden("1", 600, {"5"})
    blocks.error = None
    assert known.hidden("1", 600, {"5"}) == {"5"}


@pytest.mark.parametrize(("changes", "most"), [(0, 1), (299, 1), (300, 2), (599, 2), (600, 3)])
def test_as_many_users_are_asked_about_as_cost_no_more_than_the_whole_list(changes: int, most: int) -> None:
    for count, is_read in ((most, False), (most + 1, True)):
        blocks = FakeBlocks()
        Hiding(blocks).hidden("1", changes, {str(number) for number in range(count)})
        assert bool(blocks.read) is is_read


def test_the_last_list_is_remembered_however_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiding, "_KEPT", 1)
    blocks = FakeBlocks()
    known = Hiding(blocks)
    for blocker in ("1", "1", "2", "1"):
        known.hidden(blocker, 600, {"5", "6"})
    assert [blocker for blocker, _ in blocks.asked] == ["1", "2", "1"]
