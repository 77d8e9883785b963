"""Runs a command and ends it, with all that it started, when the process that started the guard has ended.

The starting process holds the other end of the guard's standard input: this pipe closes even if SIGKILL ends that
process. The guard leads its own session, so a Ctrl-C at the terminal does not reach the command before the stack's own
shutdown does; the command leads a group of its own, by which the guard knows what is left of it. It imports the
standard library alone, so that it starts in 20 ms.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 5.0
"""Seconds that the command has to end by itself after SIGTERM, and what it started after that."""
_LOOK_SECONDS = 0.02


def main(command: list[str]) -> int:
    """Run the command until it ends or must end; return its exit code, 128 and more for a signal, as shells do."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)

    def end(*_: object) -> None:
        _send(child.pid, signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, lambda *_: _send(child.pid, signal.SIGKILL))
    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    _send(child.pid, signal.SIGTERM)  # what the command left behind
    deadline = time.monotonic() + GRACE_SECONDS
    while _is_there(child.pid) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    _send(child.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _send(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether there is one. Signal 0 only looks."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # PermissionError is how macOS says that only zombies are left
        return False
    return True


def _is_there(group: int) -> bool:
    """Return whether a process of the group runs. Zombies do not: in a container, nobody may ever collect them."""
    if not _send(group, 0):
        return False
    return not os.access("/proc/self/stat", os.R_OK) or any(state not in "ZX" for state in _states(group))


def _states(group: int) -> list[str]:
    """Return the states of a group's processes, where the system shows processes as files."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - pathlib takes as long as all the rest
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123 - likewise
            state, _, of_group, *_ = stat.read().rpartition(b")")[2].split()
            if int(of_group) == group:
                found.append(state.decode())
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
