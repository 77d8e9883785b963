"""Specifications of a page's logic, in Node's test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path


def hold(specification: Path) -> None:
    """Run a `*.test.mjs` and see that it has tests, and that all of them pass."""
    done = subprocess.run(
        ["node", "--test", specification],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=specification.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# pass 0\n" not in done.stdout
