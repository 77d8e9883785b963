"""A short run of the fuzzer, in a process of its own, as it replaces AWS and the clock. `make fuzz` runs longer."""

from __future__ import annotations

import random
import subprocess
import sys

from tests.cloudformation import ROOT

TARGETS = [
    *("frame", "query", "token", "claims", "jwks", "secrets", "bus", "user_change", "event_entry"),
    *("check_order", "straggler", "farewell"),
]


def test_every_input_is_accepted_answered_or_rejected_whole() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "4800", "--seed", str(random.Random().randrange(10**6))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]  # the seed is in the last line
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == TARGETS
    assert all("accepted" in line for line in lines[:-1])  # the samples themselves are good
