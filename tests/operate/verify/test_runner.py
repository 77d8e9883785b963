"""Scenes run in parallel; a failing scene ends no other, and one cause makes one failed line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from operate.verify import diagnosis, runner
from operate.verify.lines import FailedError, Line, SkippedError, Verdict
from operate.verify.runner import Notes, Runner, Scene

Play = Callable[[None, Notes], Awaitable[None]]


async def explain(error: Exception, advice: str, _blame: Sequence[str]) -> FailedError:
    return error if isinstance(error, FailedError) else diagnosis.explain(error, advice)


async def run(*scenes: Scene[None], at_once: int = 8) -> dict[str, Line]:
    said: list[Line] = []
    played: Runner[None] = Runner(said.append, explain, at_once)
    await played.run(None, scenes)
    assert said == played.lines
    return {line.key: line for line in said}


def scene(play: Play, *keys: str, needs: tuple[str, ...] = (), within: float = 5.0) -> Scene[None]:
    return Scene("a scene", {key: key.upper() for key in keys}, play, needs, within)


async def passes(_: None, notes: Notes) -> None:
    for key in notes.open:
        notes.passes(key)


async def fails(_: None, _notes: Notes) -> None:
    raise FailedError("it is so", "do this")


def verdicts(lines: dict[str, Line]) -> dict[str, Verdict]:
    return {key: line.verdict for key, line in lines.items()}


async def test_a_line_that_passes_says_what_it_found() -> None:
    async def play(_: None, notes: Notes) -> None:
        async with notes.line("a") as line:
            line.says = "all is well"
            line.facts["seconds"] = 3

    (line,) = (await run(scene(play, "a"))).values()
    assert (line.verdict, line.title, line.says, line.facts) == (Verdict.PASSED, "A", "all is well", {"seconds": 3})


async def test_a_line_without_a_time_of_its_own_has_the_operators_patience() -> None:
    async def play(_: None, notes: Notes) -> None:
        async with notes.line("a", within=5):
            await asyncio.sleep(0.02)
        async with notes.line("b"):
            await asyncio.Event().wait()

    said: list[Line] = []
    await Runner[None](said.append, explain, patience=0.01).run(None, [scene(play, "a", "b")])
    assert [line.verdict for line in said] == [Verdict.PASSED, Verdict.FAILED]
    assert said[1].seconds < 1


async def test_a_line_that_fails_does_not_end_its_scene() -> None:
    async def play(_: None, notes: Notes) -> None:
        async with notes.line("a"):
            raise FailedError("it is not", "do that")
        async with notes.line("b"):
            pass

    lines = await run(scene(play, "a", "b"))
    assert verdicts(lines) == {"a": Verdict.FAILED, "b": Verdict.PASSED}
    assert str(lines["a"]) == "✗ A: it is not\n    → do that"


async def test_a_line_that_waits_too_long_fails_with_its_advice() -> None:
    async def play(_: None, notes: Notes) -> None:
        async with notes.line("a", "look there", within=0.01):
            await asyncio.Event().wait()

    (line,) = (await run(scene(play, "a"))).values()
    assert (line.verdict, line.says, line.advice) == (Verdict.FAILED, "it did not happen in time", "look there")


async def test_a_line_waits_less_after_another_has_waited_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IMPATIENT", 0.01)

    async def play(_: None, notes: Notes) -> None:
        async with notes.line("a", within=0.01):
            await asyncio.Event().wait()
        async with notes.line("b", within=60):
            await asyncio.Event().wait()

    assert verdicts(await run(scene(play, "a", "b"))) == {"a": Verdict.FAILED, "b": Verdict.FAILED}


async def test_a_scene_that_fails_fails_its_first_open_line_and_leaves_out_the_rest() -> None:
    async def play(_: None, notes: Notes) -> None:
        notes.passes("a")
        raise FailedError("the door is shut", "open it")

    lines = await run(scene(play, "a", "b", "c"), scene(passes, "d"))
    assert verdicts(lines) == {"a": Verdict.PASSED, "b": Verdict.FAILED, "c": Verdict.SKIPPED, "d": Verdict.PASSED}
    assert lines["b"].advice == "open it"


async def test_a_scene_is_bounded_as_a_whole() -> None:
    async def play(_: None, _notes: Notes) -> None:
        await asyncio.Event().wait()

    assert verdicts(await run(scene(play, "a", within=0.01))) == {"a": Verdict.FAILED}


async def test_a_line_that_its_scene_forgets_is_no_silent_success() -> None:
    async def play(_: None, notes: Notes) -> None:
        notes.passes("a")

    lines = await run(scene(play, "a", "b"))
    assert lines["b"].verdict is Verdict.FAILED
    assert "verify itself" in lines["b"].advice


async def test_a_line_that_is_open_after_another_failed_is_left_out() -> None:
    async def play(_: None, notes: Notes) -> None:
        async with notes.line("outer"):
            raise FailedError("nobody is let in")

    lines = await run(scene(play, "inner", "outer"))
    assert verdicts(lines) == {"outer": Verdict.FAILED, "inner": Verdict.SKIPPED}


@pytest.mark.parametrize(("first", "second"), [(passes, Verdict.PASSED), (fails, Verdict.SKIPPED)])
async def test_a_scene_is_played_only_if_what_it_needs_has_passed(first: Play, second: Verdict) -> None:
    lines = await run(scene(passes, "b", needs=("a",)), scene(first, "a"), at_once=1)
    assert lines["b"].verdict is second
    assert ("a" in lines["b"].says) is (second is Verdict.SKIPPED)


async def test_a_line_that_cannot_be_checked_is_no_failure() -> None:
    async def play(_: None, notes: Notes) -> None:
        async with notes.line("a"):
            raise SkippedError("the stack has no domain")

    assert str((await run(scene(play, "a")))["a"]) == "– A: the stack has no domain"


async def test_scenes_are_played_side_by_side_but_not_too_many() -> None:
    playing, most = 0, 0

    async def play(_: None, notes: Notes) -> None:
        nonlocal playing, most
        playing += 1
        most = max(most, playing)
        await asyncio.sleep(0)
        playing -= 1
        await passes(None, notes)

    await run(*(scene(play, f"line {number}") for number in range(20)), at_once=3)
    assert most == 3


async def test_cancelling_a_run_ends_it_at_once() -> None:
    async def play(_: None, notes: Notes) -> None:
        async with notes.line("a"):
            await asyncio.Event().wait()

    task = asyncio.create_task(run(scene(play, "a")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
