"""Walks the way of a newcomer to samsocket: from the wheel in an empty environment to a message that is echoed.

    python -m tools.newcomer                  # with the caches of this user
    python -m tools.newcomer --empty-home     # and with nothing in the tool's own cache folder

It builds the wheel, installs it by pip alone, and runs `samsocket up` on a project of the shape of AWS's own sample,
whose code and template are unchanged. It prints what each step took. It needs the network, so no test runs it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uv

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "tests/samsocket/projects/chat-node"
WITHIN = 300.0
PORT = "3991"


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say how long something took."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s")


def main() -> None:
    """Walk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--empty-home", action="store_true")
    is_empty = parser.parse_args().empty_home
    with tempfile.TemporaryDirectory(prefix="newcomer-") as name:
        folder = Path(name)
        project = shutil.copytree(PROJECT, folder / "chat")
        with step("the wheel"):
            build = [uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT / "samsocket")]
            subprocess.run(build, check=True)
        with step("pip install, in an empty environment"):
            subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
            (wheel,) = folder.glob("*.whl")
            pip = [str(folder / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", str(wheel)]
            subprocess.run(pip, check=True)
        environment = {name: value for name, value in os.environ.items() if name != "SAMSOCKET_HOME"}
        if is_empty:
            environment["SAMSOCKET_HOME"] = str(folder / "home")
        with step("samsocket up, until a message is echoed"):
            echo(folder / "venv/bin/samsocket", project, folder / "up.log", environment)


def echo(samsocket: Path, project: Path, output: Path, environment: dict[str, str]) -> None:
    """Start the tool, send a message and hear it."""
    with output.open("wb") as log:
        tool = subprocess.Popen(
            [samsocket, "up", "--port", PORT], cwd=project, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + WITHIN
        while "Ctrl-C ends it" not in (said := output.read_text()):
            if tool.poll() is not None or time.monotonic() > deadline:
                sys.exit(said)
            time.sleep(0.1)
        message = '{"action": "sendmessage", "data": "hello"}'
        sent = subprocess.run(
            [samsocket, "send", message, "--port", PORT, "--wait", "30", "--count", "1"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if sent.stdout.strip() != "hello":
            sys.exit(f"{sent.stdout}{sent.stderr}{output.read_text()}")
    finally:
        tool.terminate()
        tool.wait()


if __name__ == "__main__":
    main()
