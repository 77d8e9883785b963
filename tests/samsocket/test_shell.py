"""Other programs reach the emulator of a run, and only while it runs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from samsocket.errors import StartError
from samsocket.shell import exports, folder_of, told


def test_the_variables_of_a_run_are_told_while_it_runs_to_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMSOCKET_HOME", str(tmp_path))
    template = tmp_path / "chat/template.yaml"
    with told(template, {"AWS_SECRET_ACCESS_KEY": "a b"}):
        assert exports(template) == "export AWS_SECRET_ACCESS_KEY='a b'\n"
        assert stat.S_IMODE((folder_of(template) / "env").stat().st_mode) == 0o600
    with pytest.raises(StartError, match="does not run: start it with samsocket up"):
        exports(template)
