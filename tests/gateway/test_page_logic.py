"""How the gateway's page words what happens, in Node's test runner: entries.test.mjs is the specification."""

from __future__ import annotations

import subprocess
from pathlib import Path

SPECIFICATION = Path(__file__).with_name("entries.test.mjs")


def test_the_pages_logic_does_what_its_specification_says() -> None:
    done = subprocess.run(
        ["node", "--test", SPECIFICATION],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=SPECIFICATION.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# pass 0\n" not in done.stdout
