"""A program does not outlive the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from samsocket import guard

DEADLINE = 10.0
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}])
print(child.pid, flush=True)
child.wait()
"""


def start(script: str, *, guarded: bool = True) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*([sys.executable, guard.__file__] if guarded else []), sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process


def guarding(script: str, *, seconds: float) -> str:
    """Return a script that guards another one, which has so many seconds to end by itself."""
    command = f"[{sys.executable!r}, '-c', {script!r}]"
    return f"from samsocket import guard; guard.GRACE_SECONDS = {seconds}; raise SystemExit(guard.main({command}))"


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid: int) -> bool:
    """Whether a process that isn't our child ends before the deadline."""
    deadline = time.monotonic() + DEADLINE
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_that_ends_by_itself_keeps_its_exit_code(code: int) -> None:
    with start(f"raise SystemExit({code})") as process:
        assert process.wait(DEADLINE) == code


def test_a_command_that_a_signal_ended_has_the_exit_code_that_shells_give() -> None:
    with start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") as process:
        assert process.wait(DEADLINE) == 128 + signal.SIGKILL


def test_a_command_ends_when_the_pipe_to_its_starter_closes() -> None:
    with start(SLEEPER) as process:
        assert first_line(process) == "up"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(DEADLINE) == 128 + signal.SIGTERM


def test_processes_that_the_command_started_end_with_it() -> None:
    with start(PARENT) as process:
        grandchild = int(first_line(process))
        assert process.stdin is not None
        process.stdin.close()
        process.wait(DEADLINE)
        assert ends(grandchild)


def test_a_command_that_does_not_listen_is_killed() -> None:
    with start(guarding(DEAF, seconds=0.2), guarded=False) as process:
        assert first_line(process) == "up"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(DEADLINE) == 128 + signal.SIGKILL


@pytest.mark.parametrize("how", ["the starter ends", "the command ends"])
def test_what_the_command_started_and_does_not_listen_is_killed_before_the_guard_ends(how: str) -> None:
    seconds = 600 if how == "the starter ends" else 0.5
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {DEAF!r}], stdout=subprocess.PIPE)\n"
        f"child.stdout.readline(); print(child.pid, flush=True); time.sleep({seconds})"
    )
    with start(guarding(parent, seconds=0.5), guarded=False) as process:
        grandchild = int(first_line(process))
        assert process.stdin is not None
        if how == "the starter ends":
            process.stdin.close()
        process.wait(DEADLINE)
        assert ends(grandchild)
