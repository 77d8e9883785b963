"""The state folder says correctly whether a stack runs, even after a crash."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from operate.errors import AlreadyRunningError, NotRunningError
from operate.state import Running, StateFolder

RUNNING = Running(
    state="ready",
    pid=1,
    stack="listener-realtime",
    region="us-east-1",
    websocket_url="ws://localhost:8080/ws",
    management_url="http://localhost:8080/_aws/execute-api/realtime",
    page_url="",
    aws_endpoint_url="http://127.0.0.1:4566",
    access_key="AKIAABCDEFGHIJKLMNOP",
    secret_key="nobody else's business",
    bus="realtime",
    outputs={"BusName": "realtime"},
)
HOLDER = """
import sys
from pathlib import Path
from operate.state import Running, StateFolder
folder = StateFolder(Path(sys.argv[1]))
with folder.held():
    folder.write(Running(state="ready", pid=1, stack="s", region="r", websocket_url="", management_url="",
                         aws_endpoint_url="", page_url="", access_key="", secret_key=""))
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


def test_a_folder_that_does_not_exist_has_no_stack(folder: StateFolder) -> None:
    assert folder.holder() is None
    assert folder.read() is None


def test_a_running_stack_can_be_read_until_it_stops(folder: StateFolder) -> None:
    with folder.held():
        folder.write(RUNNING)
        assert folder.read() == RUNNING
        assert folder.ready() == RUNNING
        assert folder.holder() == os.getpid()
    assert folder.read() is None
    assert folder.holder() is None


def test_a_starting_stack_is_not_ready(folder: StateFolder) -> None:
    with folder.held(), pytest.raises(NotRunningError, match="realtime up"):
        folder.ready()


def test_a_second_stack_is_refused_and_the_first_goes_on(folder: StateFolder) -> None:
    with folder.held():
        folder.write(RUNNING)
        with pytest.raises(AlreadyRunningError, match="realtime down"), folder.held():
            pytest.fail("held twice")
        assert folder.read() == RUNNING


def test_a_stack_that_was_killed_leaves_a_state_that_nobody_believes(folder: StateFolder) -> None:
    command = [sys.executable, "-c", HOLDER, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert folder.read() is not None
        holder.kill()
        holder.wait(10)
    assert (folder.path / "state.json").exists()
    assert folder.read() is None


def test_a_new_start_removes_the_logs_of_the_last(folder: StateFolder) -> None:
    with folder.held():
        (folder.logs / "gateway.log").write_text("old")
    with folder.held():
        assert not list(folder.logs.iterdir())


def test_the_state_is_json_for_other_programs(folder: StateFolder) -> None:
    with folder.held():
        folder.write(RUNNING)
        assert json.loads((folder.path / "state.json").read_text())["websocket_url"] == RUNNING.websocket_url


def test_only_this_user_of_the_machine_can_read_the_access_key(folder: StateFolder) -> None:
    with folder.held():
        folder.write(RUNNING)
        folder.write(RUNNING)
        assert stat.S_IMODE((folder.path / "state.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.logs.stat().st_mode) == 0o700


def test_a_draft_file_that_others_may_read_is_replaced_not_reused(folder: StateFolder) -> None:
    with folder.held():
        draft = folder.path / "state.new"
        draft.touch(mode=0o666)
        with draft.open() as opened_before:
            folder.write(RUNNING)
            assert opened_before.read() == ""


def test_the_shown_facts_of_a_stack_do_not_include_its_access_key() -> None:
    for text in (repr(RUNNING), str(RUNNING.public_fields())):
        assert RUNNING.access_key not in text
        assert RUNNING.secret_key not in text
    assert RUNNING.public_fields()["websocket_url"] == RUNNING.websocket_url
