"""What a gateway remembers of what happened, for its page."""

from __future__ import annotations

import asyncio
import logging

import pytest

from samsocket.activity import AT_ONCE, TEXT_CHARACTERS, Activity, problems_shown, shortened

AT_ONCE_NOW = 0.01
PATIENCE = 10.0


async def test_each_answer_goes_on_where_the_one_before_ended() -> None:
    activity = Activity()
    activity.add("opened", id="a")
    first = await activity.after("", seconds=PATIENCE)
    activity.add("heard", id="a", text="hello", route=None)
    second = await activity.after(first["last"], seconds=PATIENCE)
    assert [(entry["n"], entry["kind"], entry["id"]) for entry in first["entries"]] == [(1, "opened", "a")]
    (entry,) = second["entries"]
    assert entry.pop("at") > 1_600_000_000_000
    assert entry == {"n": 2, "kind": "heard", "id": "a", "text": "hello"}


async def test_a_question_waits_until_something_happens() -> None:
    activity = Activity()
    asked = [asyncio.create_task(activity.after("", seconds=PATIENCE)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in asked)
    activity.add("opened")
    for answer in await asyncio.gather(*asked):
        assert [entry["kind"] for entry in answer["entries"]] == ["opened"]


async def test_what_another_thread_adds_wakes_who_waits() -> None:
    activity = Activity()
    asked = asyncio.create_task(activity.after("", seconds=PATIENCE))
    await asyncio.sleep(0)
    await asyncio.to_thread(activity.add, "problem", text="from elsewhere")
    assert (await asked)["entries"][0]["text"] == "from elsewhere"


async def test_a_question_ends_without_an_answer_when_nothing_happens_or_the_gateway_ends() -> None:
    activity = Activity()
    cursor = (await activity.after("", seconds=AT_ONCE_NOW))["last"]
    assert (await activity.after(cursor, seconds=AT_ONCE_NOW))["entries"] == []
    asked = asyncio.create_task(activity.after(cursor, seconds=PATIENCE))
    await asyncio.sleep(0)
    activity.end()
    assert (await asked)["entries"] == []
    assert (await activity.after(cursor, seconds=PATIENCE))["entries"] == []  # at once


@pytest.mark.parametrize("cursor", ["", "x", "another-run.7", "another-run.-1", ".", "1.1.1"])
async def test_the_cursor_of_another_run_begins_anew(cursor: str) -> None:
    activity = Activity()
    activity.add("opened")
    answer = await activity.after(cursor, seconds=PATIENCE)
    assert len(answer["entries"]) == 1
    assert answer["run"]
    assert answer["run"] != Activity()._run


async def test_only_the_youngest_are_kept_and_the_others_are_counted() -> None:
    activity = Activity(entries=3)
    for number in range(5):
        activity.add("heard", text=str(number))
    answer = await activity.after("", seconds=PATIENCE)
    assert [entry["text"] for entry in answer["entries"]] == ["2", "3", "4"]
    assert answer["missed"] == 2


async def test_an_answer_has_a_bounded_number_of_entries() -> None:
    activity = Activity()
    for _ in range(AT_ONCE + 100):
        activity.add("heard")
    answer = await activity.after("", seconds=PATIENCE)
    assert len(answer["entries"]) == AT_ONCE
    assert answer["missed"] == 100
    assert answer["entries"][-1]["n"] == AT_ONCE + 100


def test_long_texts_are_cut() -> None:
    assert shortened("x" * TEXT_CHARACTERS) == "x" * TEXT_CHARACTERS
    assert shortened("x" * (TEXT_CHARACTERS + 1)) == "x" * TEXT_CHARACTERS + "…"


async def test_warnings_of_the_gateway_are_problems_but_its_access_log_is_not() -> None:
    activity = Activity()
    logger = logging.getLogger("samsocket.somewhere")
    with problems_shown(activity):
        logger.info("a request")
        logger.warning("$connect: %s", "no answer")
    logger.warning("after the end")
    answer = await activity.after("", seconds=AT_ONCE_NOW)
    assert [(entry["kind"], entry["text"]) for entry in answer["entries"]] == [("problem", "$connect: no answer")]
