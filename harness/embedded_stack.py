"""Starts embedded stacks for end-to-end tests. A stack ends with the tests, even if they are killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from operate.state import Running, StateFolder
from samsocket import guard

READY_WITHIN = 150.0
"""Seconds; it takes 15 on two idle cores."""


@contextmanager
def embedded_stack(path: Path, parameters: Mapping[str, str]) -> Iterator[tuple[StateFolder, Running]]:
    """Run `realtime up` on free ports, with its state in a folder of its own.

    Raises:
        AssertionError: it does not start; the error has its whole output.
    """
    path.mkdir(parents=True, exist_ok=True)
    folder, output = StateFolder(path), path / "up.log"
    command = [sys.executable, guard.__file__, sys.executable, "-m", "operate.cli", "up", "--state", str(path)]
    command += [
        "--port",
        "0",
        *(word for name, value in parameters.items() for word in ("--parameter", f"{name}={value}")),
    ]
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    with process:  # on exit this closes the standard input, so the guard ends the stack, and waits for its end
        yield folder, _ready(process, folder, output)


def _ready(process: subprocess.Popen[bytes], folder: StateFolder, output: Path) -> Running:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        running = folder.read()
        if running is not None and running.state == "ready":
            return running
        time.sleep(0.1)
    raise AssertionError(f"the stack is not ready:\n{output.read_text(encoding='utf-8')}")
