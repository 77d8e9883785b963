"""A whole run, in order: removes what earlier runs left, runs the scenes, removes what they made."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from operate.deployment import Deployment
from operate.errors import CommandError
from operate.verify import (
    cleanup,
    diagnosis,
    door,
    operation,
    presence,
    questions,
    quotas,
    report,
    setting_up,
    talking,
    telling,
)
from operate.verify.lines import FailedError, Line, Verdict
from operate.verify.run import Options, VerifyRun
from operate.verify.runner import Runner, Scene

_THREADS = 48
"""Calls to AWS at a time: some of them wait for messages."""
TIDY_SECONDS = 60.0

SCENES: list[Scene[VerifyRun]] = [
    *setting_up.SCENES,
    *operation.SCENES,
    *door.SCENES,
    *presence.SCENES,  # they take longest
    *talking.SCENES,
    *telling.SCENES,
    *quotas.SCENES,
    *questions.SCENES,
]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run."""

    report: dict[str, Any]
    is_good: bool


def selected_scenes(only: Sequence[str]) -> list[Scene[VerifyRun]]:
    """Return the scenes with a line whose key begins with one of `only`, and those that they need; all without `only`.

    Raises:
        CommandError: no key begins with one of them.
    """
    if not only:
        return SCENES
    for beginning in only:
        if not any(key.startswith(beginning) for scene in SCENES for key in scene.lines):
            kinds = sorted({key.split(".")[0] for scene in SCENES for key in scene.lines})
            raise CommandError(f"No line's key begins with {beginning}. They begin with {', '.join(kinds)}.")
    wanted = {scene.name for scene in SCENES if any(key.startswith(tuple(only)) for key in scene.lines)}
    while True:
        needed = {key for scene in SCENES if scene.name in wanted for key in scene.needs}
        more = {scene.name for scene in SCENES if needed & scene.lines.keys()} - wanted
        if not more:
            return [scene for scene in SCENES if scene.name in wanted]
        wanted |= more


async def verify(
    deployment: Deployment, options: Options, say: Callable[[str], None], only: Sequence[str] = ()
) -> Outcome:
    """Verify a stack. At any end, also by Ctrl-C (a cancellation), all that the run made is removed."""
    scenes = selected_scenes(only)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    task = asyncio.current_task()
    with suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel if task else loop.stop)
    began = time.monotonic()
    async with aiohttp.ClientSession(trust_env=deployment.websocket_url.startswith("wss:")) as http:
        run = VerifyRun(deployment, options, http)
        runner = _runner(run, say)
        try:
            await _tidy_earlier(run, say)
            await runner.run(run, scenes)
        finally:
            await _tidy(run, say)
    lines = runner.lines
    return Outcome(
        report.make(run, lines, time.monotonic() - began),
        is_good=not any(line.verdict is Verdict.FAILED for line in lines),
    )


def _runner(run: VerifyRun, say: Callable[[str], None]) -> Runner[VerifyRun]:
    async def explain(error: Exception, advice: str, blame: Sequence[str]) -> FailedError:
        problem = error if isinstance(error, FailedError) else diagnosis.explain(error, advice)
        if diagnosis.is_denied(error) or not blame:
            return FailedError(problem.says, problem.advice or advice)
        complaints = await run.complaints(*blame)
        better = diagnosis.missing_right(complaints)
        told = diagnosis.advise(complaints)
        if told is None and "ingest" in blame and (count := await run.waiting_events()):
            told = (
                f"{count} events wait in the queue BackendEventsQueueUrl: if they stay there, the event source mapping "
                "of the function ingest does not read it."
            )
        return FailedError(problem.says, better or " ".join(filter(None, [problem.advice or advice, told])))

    def said(line: Line) -> None:
        run.has_failed = run.has_failed or line.verdict is Verdict.FAILED
        say(str(line))

    return Runner(said, explain, patience=run.options.patience_seconds)


async def _tidy_earlier(run: VerifyRun, say: Callable[[str], None]) -> None:
    """Remove what a killed run left; a failure to remove it does not stop this run."""
    try:
        for run_id in await cleanup.tidy_earlier(run):
            say(f"Removed what an earlier run left: {run_id}.")
    except Exception as error:  # noqa: BLE001
        say(f"Cannot look for what earlier runs left: {diagnosis.explain(error).says}.")


async def _tidy(run: VerifyRun, say: Callable[[str], None]) -> None:
    if not run.outputs.get("UsersTableName"):
        return
    say("Removing what verify made …")
    if run.ear is not None:
        await run.ear.close()
    left: list[str]
    try:
        async with asyncio.timeout(TIDY_SECONDS + run.number("GracePeriodSeconds", 10)):
            left = await cleanup.tidy(run, run.number("GracePeriodSeconds", 10))
    except TimeoutError:
        left = ["it took too long: the next run removes the rest"]
    for each in left:
        say(f"Could not remove {each}")
