"""Runs a command and ends it, with all that it started, when the process that started the guard has ended.

The starting process holds the other end of the guard's standard input: this pipe closes even if SIGKILL ends that
process. The guard leads its own process group, so a Ctrl-C at the terminal does not reach the command before the
stack's own shutdown does. It imports the standard library alone, so that it starts in 20 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 5.0
"""Seconds that the command has to end by itself after SIGTERM."""


def main(command: list[str]) -> int:
    """Run the command until it ends or must end; return its exit code, 128 and more for a signal, as shells do."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the guard is in the group that it signals
        os.killpg(0, signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    end()  # what the command left behind
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
