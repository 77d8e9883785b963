"""Walks the way of a newcomer to samsocket: from the wheel in an empty environment to a message that is echoed.

    python -m tools.newcomer                  # with the caches of this user
    python -m tools.newcomer --empty-home     # and with nothing in the tool's own cache folder
    python -m tools.newcomer --uv             # installed by uv in place of pip

It builds the wheel, installs it by pip alone, and runs `samsocket up` on a project of the shape of AWS's own sample,
whose code and template are unchanged. Then it saves a change of a handler, three times, while a client is connected. It
prints what each step took. It needs the network, so no test runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import uv

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "tests/samsocket/projects/chat-node"
WITHIN = 300.0
PORT = "3991"
SAID = "JSON.parse(event.body).data"
"""What the sample's handler sends to each client."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say how long something took, and how long its processes computed, for a machine that others use as well."""
    began, computed = time.monotonic(), _computed()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s, of which {_computed() - computed:.1f} s on a core", flush=True)


def _computed() -> float:
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Walk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--empty-home", action="store_true")
    parser.add_argument("--uv", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as name:
        folder = Path(name)
        project = shutil.copytree(PROJECT, folder / "chat")
        with step("the wheel"):
            program = uv.find_uv_bin()
            build = [program, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT / "samsocket")]
            subprocess.run(build, check=True)
        (wheel,) = folder.glob("*.whl")
        venv, python = folder / "venv", folder / "venv/bin/python"
        with step("an empty environment"):
            make = [program, "venv", "--quiet"] if options.uv else [sys.executable, "-m", "venv"]
            subprocess.run([*make, str(venv)], check=True)
        with step("uv pip install" if options.uv else "pip install"):
            by_uv = [program, "pip", "install", "--quiet", "--python", str(python)]
            by_pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*(by_uv if options.uv else by_pip), str(wheel)], check=True)
        environment = {name: value for name, value in os.environ.items() if name != "SAMSOCKET_HOME"}
        if options.empty_home:
            environment["SAMSOCKET_HOME"] = str(folder / "home")
        walk(folder / "venv/bin/samsocket", project, folder / "up.log", environment)


def walk(samsocket: Path, project: Path, output: Path, environment: dict[str, str]) -> None:
    """Start the tool, send a message and hear it; then change a handler."""
    began = time.monotonic()
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
        print(f"samsocket up, until a message is echoed: {time.monotonic() - began:.1f} s")
        print("\n".join(f"    {line}" for line in output.read_text().splitlines() if line.startswith(("✓", "install"))))
        asyncio.run(edit(project / "sendmessage/app.js"))
    finally:
        tool.terminate()
        tool.wait()


async def edit(handler: Path) -> None:
    """Save changes of a handler, and ask on one connection until it answers by them."""
    code = await asyncio.to_thread(handler.read_text, encoding="utf-8")
    async with aiohttp.ClientSession() as http, http.ws_connect(f"http://localhost:{PORT}/Prod") as client:
        for number in range(3):
            await asyncio.to_thread(handler.write_text, code.replace(SAID, f"'edit {number}'"), encoding="utf-8")
            began = time.monotonic()
            while True:
                await client.send_str('{"action": "sendmessage", "data": "hello"}')
                if (await client.receive(timeout=WITHIN)).data == f"edit {number}":
                    break
            print(f"a handler is saved, until an open connection hears its effect: {time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    main()
