"""Runs scenes in parallel. A scene is a sequence of steps in a fixed order; its lines are the checks during them.

A line that fails ends neither its scene nor another. A scene that fails leaves its first open line failed, with the
reason, and the lines after it skipped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from operate.verify.lines import FailedError, Line, Say, SkippedError, Verdict

WITHIN = 25.0
"""Seconds that one line may take: enough for a function's cold start."""
IMPATIENT = 4.0
"""Seconds that a line gets after another line of its scene has timed out: a fault seldom comes alone."""

W = TypeVar("W")
Explain = Callable[[Exception, str, Sequence[str]], Awaitable[FailedError]]
"""Turns an error into advice for a person, from the scene's own advice and the logs of the functions that may be at
fault: a log says more than a missing message.
"""


class Notes:
    """The lines of one scene."""

    def __init__(
        self, lines: Mapping[str, str], say: Callable[[Line], None], explain: Explain, patience: float = WITHIN
    ) -> None:
        """Take the titles by key, in the order in which they are looked at, and the seconds that a line may take."""
        self._titles, self._say, self._explain = lines, say, explain
        self._patience = patience
        self._noted: set[str] = set()
        self._has_waited_in_vain = False
        self.has_failed = False
        self._began = time.monotonic()

    @property
    def open(self) -> list[str]:
        """The keys of the lines that have no result yet."""
        return [key for key in self._titles if key not in self._noted]

    @asynccontextmanager
    async def line(
        self, key: str, advice: str = "", blame: Sequence[str] = (), within: float | None = None
    ) -> AsyncIterator[Passing]:
        """Do one check within a time, `within` or else the patience; an error is noted, and the scene continues.

        `blame` names the functions whose logs may say why, such as `broadcast`.
        """
        passing = Passing()
        began = time.monotonic()
        within = self._patience if within is None else within
        try:
            async with asyncio.timeout(min(within, IMPATIENT) if self._has_waited_in_vain else within) as limit:
                yield passing
        except Exception as error:  # noqa: BLE001  # any error is the result of this line
            if limit.expired():
                self._has_waited_in_vain = True
            await self.fails(key, error, advice, blame, time.monotonic() - began)
        else:
            self._note(key, passing.verdict, passing.says, "", time.monotonic() - began, passing.facts)

    async def fails(
        self, key: str, error: Exception, advice: str = "", blame: Sequence[str] = (), seconds: float = 0.0
    ) -> None:
        """Note an error."""
        if isinstance(error, SkippedError):
            self._note(key, Verdict.SKIPPED, error.reason, "", seconds, {})
            return
        problem = await self._explain(error, advice, blame)
        self._note(key, Verdict.FAILED, problem.says, problem.advice, seconds, {})

    def passes(self, key: str, says: str = "", **facts: Any) -> None:
        """Note that all is well."""
        self._note(key, Verdict.PASSED, says, "", time.monotonic() - self._began, facts)

    def warns(self, key: str, says: str, advice: str, **facts: Any) -> None:
        """Note a warning."""
        self._note(key, Verdict.WARNED, says, advice, time.monotonic() - self._began, facts)

    def finds(self, key: str, says: str, **facts: Any) -> None:
        """Note the answer to a question that no document answers."""
        self._note(key, Verdict.FOUND, says, "", time.monotonic() - self._began, facts)

    def skips(self, key: str, reason: str) -> None:
        """Note a check that cannot be made, and why."""
        self._note(key, Verdict.SKIPPED, reason, "", 0.0, {})

    def _note(
        self, key: str, verdict: Verdict, says: str, advice: str, seconds: float, facts: Mapping[str, Any]
    ) -> None:
        self._noted.add(key)
        self.has_failed = self.has_failed or verdict is Verdict.FAILED
        self._say(Line(key, self._titles[key], verdict, says, advice, round(seconds, 2), facts))


@dataclass
class Passing:
    """What a line says if nothing goes wrong."""

    says: str = ""
    verdict: Verdict = Verdict.PASSED
    facts: dict[str, Any] = field(default_factory=dict)

    def finds(self, says: str, **facts: Any) -> None:
        """Note a finding."""
        self.says, self.verdict = says, Verdict.FOUND
        self.facts |= facts


@dataclass(frozen=True)
class Scene(Generic[W]):
    """Steps in a fixed order. The scene runs after the lines that it needs have passed; else its lines are skipped.

    `within` is in seconds.
    """

    name: str
    lines: Mapping[str, str]
    play: Callable[[W, Notes], Awaitable[None]]
    needs: tuple[str, ...] = ()
    within: float = 75.0


class Runner(Generic[W]):
    """Runs scenes, at most `at_once` at a time."""

    def __init__(self, say: Say, explain: Explain, at_once: int = 8, patience: float = WITHIN) -> None:
        """Take where lines are said, and the seconds that a line may take if nothing else is said of it."""
        self._say, self._explain, self._patience = say, explain, patience
        self._turn = asyncio.Semaphore(at_once)
        self.lines: list[Line] = []

    async def run(self, run: W, scenes: Sequence[Scene[W]]) -> None:
        """Run all scenes, and return when each of their lines has a result."""
        promised = {key: asyncio.get_running_loop().create_future() for scene in scenes for key in scene.lines}

        def said(line: Line) -> None:
            self.lines.append(line)
            self._say(line)
            if not promised[line.key].done():
                promised[line.key].set_result(line.verdict)

        async with asyncio.TaskGroup() as tasks:
            for scene in scenes:
                tasks.create_task(self._play(run, scene, said, promised))

    async def _play(self, run: W, scene: Scene[W], said: Say, promised: Mapping[str, asyncio.Future[Verdict]]) -> None:
        notes = Notes(scene.lines, said, self._explain, self._patience)
        for needed in scene.needs:
            if await promised[needed] is not Verdict.PASSED:
                for key in scene.lines:
                    notes.skips(key, f"it needs {needed}, which has not passed")
                return
        try:
            async with self._turn, asyncio.timeout(scene.within):
                await scene.play(run, notes)
        except Exception as error:  # noqa: BLE001  # the other scenes go on
            await self._close(notes, error)
        else:
            await self._close(notes, FailedError("nothing was found out about it", "This is a fault of verify itself."))

    async def _close(self, notes: Notes, error: Exception) -> None:
        """Report the error on the first open line alone, and say of the others that they were not reached."""
        for key in notes.open:
            if not notes.has_failed:
                await notes.fails(key, error)
            else:
                notes.skips(key, "not reached: a step before it failed")
