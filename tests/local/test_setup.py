"""`make` on the machines that people have: their settings for pip and uv, and folders with odd names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from operate.state import ROOT

ELSEWHERE = {
    "PIP_TARGET": "/elsewhere",
    "PIP_USER": "1",
    "PIP_PREFIX": "/elsewhere",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PYTHONPATH": "/elsewhere",
    "PYTHONHOME": "/elsewhere",
    "UV_PROJECT_ENVIRONMENT": "/elsewhere",
    "UV_SYSTEM_PYTHON": "1",
    "VIRTUAL_ENV": "/elsewhere",
}


def make(folder: Path, *arguments: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "-C", folder, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=kept | variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [name for name in ELSEWHERE if name != "PIP_USER"])
def test_a_persons_settings_for_pip_and_uv_do_not_reach_the_setup(name: str) -> None:
    said = make(ROOT, "--eval", "show: ; @env", "show", **ELSEWHERE)
    assert f"\n{name}=" not in said
    assert "\nPIP_USER=0\n" in said


def test_the_layer_is_built_in_a_folder_with_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "My Projects" / 'Prüf\'x "y"'
    shutil.copytree(ROOT / "layers" / "realtime", folder, ignore=shutil.ignore_patterns("__pycache__", "descriptions"))
    uv = tmp_path / "uv"  # it notes how it was called, and installs what the pruning expects
    uv.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" > "$ARTIFACTS_DIR/called"\nmkdir -p "$ARTIFACTS_DIR/python/botocore/data/sns"\n'
    )
    uv.chmod(0o755)
    (folder / "built").mkdir()
    make(
        folder,
        "build-RealtimeLayer",
        UV=str(uv),
        ARTIFACTS_DIR=str(folder / "built"),
        LAYER_PYTHON=str(folder / "python"),
    )
    called = (folder / "built" / "called").read_text(encoding="utf-8").splitlines()
    assert called[called.index("--python") + 1] == str(folder / "python")
    assert called[called.index("--target") + 1] == str(folder / "built" / "python")
    assert (folder / "built" / "python" / "realtime" / "__init__.py").is_file()
    assert not (folder / "built" / "python" / "botocore" / "data" / "sns").exists()


def test_a_clone_has_unix_line_ends_on_every_machine() -> None:
    asked = ["git", "check-attr", "eol", "--", ".ci/run", "Makefile", "events/connect.token-in-query.json"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.count("eol: lf") == 3


def test_the_devcontainer_has_what_the_setup_needs_and_shows_the_page() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == "make setup"
    assert container["forwardPorts"] == [8080]
    assert "python:1-3.11" in container["image"]
    assert container["features"]["ghcr.io/devcontainers/features/node:1"] == {"version": "20"}
