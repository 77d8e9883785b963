"""The Python client's package: it installs into an empty project and runs the guide's example there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import websockets

from tests.clients.scenes import event
from tests.clients.server import Server

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"
UV = ROOT / ".tools" / "uv" / "bin" / "uv"


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["first", "publish"])
def test_the_guide_prints_the_examples_that_are_run(name: str) -> None:
    example = (CLIENT / "examples" / f"{name}.py").read_text("utf-8")
    assert f"```python\n{example}```" in (ROOT / "docs" / "clients-python.md").read_text("utf-8")


async def test_the_example_of_the_package_is_a_program() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text("utf-8"), re.DOTALL)
    async with Server.run() as server:
        program = example.replace("wss://api.example.com/ws", server.url).replace("…", "a-token")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-u", "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert process.stdout
        try:
            connection = await server.connection(0)
            connection.says(event(456))
            said = await asyncio.wait_for(process.stdout.readline(), 30)
        finally:
            process.kill()
            await process.wait()
    assert said.decode() == "call_started {'call_id': 456}\n"
    assert connection.token == "a-token"


def test_the_client_has_one_dependency() -> None:
    project = (CLIENT / "pyproject.toml").read_text("utf-8")
    assert re.findall(r"^dependencies = (.*)$", project, re.MULTILINE) == ['["websockets>=15"]']


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an empty project into which the package was installed. Nothing is downloaded."""
    if not UV.exists():
        pytest.skip("make setup installs uv")
    build: list[str | Path] = [UV, "build", "--offline", "--quiet", "--out-dir", tmp_path, CLIENT]
    built = subprocess.run(build, capture_output=True, text=True, timeout=100, check=False)
    if "network was disabled" in built.stderr:
        pytest.skip("uv's cache has no hatchling")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    interpreter = tmp_path / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--offline", "--quiet", "--no-deps", "--python", interpreter, wheel, cwd=tmp_path)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    ours = Path(websockets.__file__).parents[1]
    for folder in (ours / "websockets", *ours.glob("websockets-*.dist-info")):  # its dependency, as we have it
        shutil.copytree(folder, packages / folder.name)
    run(UV, "pip", "check", "--python", interpreter, cwd=tmp_path)
    return interpreter


async def test_the_package_runs_the_first_example_in_an_empty_project(python: Path, tmp_path: Path) -> None:
    shutil.copy(CLIENT / "examples" / "first.py", tmp_path)
    async with Server.run() as server:
        process = await asyncio.create_subprocess_exec(
            python, "-I", "first.py", server.url, "a-token",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )  # fmt: skip
        connection = await server.connection(0)
        await connection.hears("ping")
        connection.says(event(456))
        said, _ = await asyncio.wait_for(process.communicate(), 30)
    assert "call 456" in said.decode()
    assert process.returncode == 0, said.decode()
    assert connection.token == "a-token"


def test_the_package_says_that_it_is_typed(python: Path, tmp_path: Path) -> None:
    script = "from importlib.resources import files; print((files('listener_realtime') / 'py.typed').is_file())"
    assert run(python, "-I", "-c", script, cwd=tmp_path).strip() == "True"
