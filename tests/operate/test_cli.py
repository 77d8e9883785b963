"""The console script without a stack."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result

from operate import tokens
from operate.cli import main
from operate.commands.options import Ago
from operate.forgetting import FAILURES
from operate.listening import _advice
from operate.state import Running, StateFolder


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REALTIME_STATE", str(tmp_path))
    return tmp_path


def realtime(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_status_without_a_stack_says_stopped_and_fails(state: Path) -> None:
    result = realtime("status", "--json")
    assert json.loads(result.output) == {"state": "stopped"}
    assert result.exit_code == 1


def test_stopping_without_a_stack_is_no_failure(state: Path) -> None:
    assert realtime("down").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("env",),
        ("token", "--user", "5"),
        ("publish", "call_started"),
        ("listen", "feed", "--user", "5"),
        ("listen", "live", "--user", "5", "--endpoints", "feed"),
        ("logs",),
        ("redrive",),
        ("top", "--once"),
        ("who",),
        ("connections", "5"),
        ("disconnect", "5"),
        ("forget", "5", "--yes"),
    ],
)
def test_a_command_that_needs_a_stack_says_how_to_start_one(state: Path, arguments: tuple[str, ...]) -> None:
    result = realtime(*arguments)
    assert result.exit_code == 1
    assert "realtime up" in result.output
    assert "Traceback" not in result.output


def test_a_parameter_without_a_value_is_refused(state: Path) -> None:
    result = realtime("up", "--parameter", "GracePeriodSeconds")
    assert result.exit_code == 2
    assert "NAME=VALUE" in result.output


def test_an_endpoint_that_does_not_exist_is_refused(state: Path) -> None:
    result = realtime("listen", "everything", "--user", "5")
    assert result.exit_code == 2
    assert "feed" in result.output


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7_200), ("7d", 604_800), (5.0, 5)])
def test_how_far_back_is_a_number_and_a_unit(text: str | float, seconds: float) -> None:
    assert Ago().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "h", "5", "-5m", "1.5h", "soon"])
def test_another_form_of_how_far_back_is_refused_with_examples(state: Path, text: str) -> None:
    result = realtime("logs", "--since", text)
    assert result.exit_code == 2
    assert "write 90s, 15m, 2h or 7d" in result.output


def test_a_token_has_the_claims_that_were_asked_for() -> None:
    token = tokens.sign({"2026": "s" * 32}, "5", ttl=60, username="jane", role="listener", scope="feed calls")
    claims = jwt.decode(token, "s" * 32, algorithms=["HS256"])
    assert jwt.get_unverified_header(token)["kid"] == "2026"
    assert {name: claims[name] for name in ("sub", "username", "role", "scope")} == {
        "sub": "5",
        "username": "jane",
        "role": "listener",
        "scope": "feed calls",
    }
    assert claims["exp"] - claims["iat"] == 60


def test_a_token_says_nothing_that_was_not_asked_for() -> None:
    claims = jwt.decode(tokens.sign({None: "s" * 32}, "5"), "s" * 32, algorithms=["HS256"])
    assert claims.keys() == {"sub", "iat", "exp"}


def test_a_bare_secret_has_no_key_id() -> None:
    assert "kid" not in jwt.get_unverified_header(tokens.sign({None: "s" * 32}, "5"))


def test_secrets_differ_and_are_long_enough_for_hs256() -> None:
    assert tokens.new_secret() != tokens.new_secret()
    assert len(tokens.new_secret()) >= 32


# ---- exit codes, as docs/operating.md has them ----------------------------------------------------------------------


def test_a_command_that_cannot_be_done_exits_with_1_and_one_line(state: Path) -> None:
    result = realtime("env")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: No stack runs from")


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("listen",), ("disconnect",), ("disconnect", "5", "--connection", "a="), ("who", "--x")],
)
def test_a_command_that_is_not_written_as_it_must_be_exits_with_2(
    state: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StateFolder, "ready", lambda _: RUNNING)
    assert realtime(*arguments).exit_code == 2


def test_ctrl_c_exits_with_130(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: StateFolder) -> Running:
        raise KeyboardInterrupt

    monkeypatch.setattr(StateFolder, "ready", interrupted)
    result = realtime("env")
    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")


def test_a_person_is_not_forgotten_without_a_yes(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StateFolder, "ready", lambda _: RUNNING)
    result = CliRunner().invoke(main, ["forget", "5"], input="n\n")
    assert result.exit_code == 1
    assert "It cannot be undone" in result.output


def test_an_id_that_no_user_can_have_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StateFolder, "ready", lambda _: RUNNING)
    assert realtime("forget", "a/b", "--yes").exit_code == 2


OUTPUTS = {f"{name}TableName": name for name in ("Connections", "Users", "Events", "Blocks")} | {
    f"{name}QueueUrl": f"http://127.0.0.1:9/{name}" for name in FAILURES
}
RUNNING = Running(
    state="ready",
    pid=1,
    stack="listener-realtime",
    region="us-east-1",
    websocket_url="ws://127.0.0.1:9/ws",
    management_url="http://127.0.0.1:9",
    aws_endpoint_url="http://127.0.0.1:9",
    page_url="",
    access_key="x",
    secret_key="y",
    outputs=OUTPUTS,
)


# ---- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_a_shell_needs(shell: str) -> None:
    result = realtime("completion", shell)
    assert result.exit_code == 0
    assert "_REALTIME_COMPLETE" in result.output


def test_words_are_completed() -> None:
    environment = {"_REALTIME_COMPLETE": "bash_complete", "COMP_WORDS": "realtime conn", "COMP_CWORD": "1"}
    result = CliRunner(env=environment).invoke(main, prog_name="realtime")
    assert result.output == "plain,connections\n"


# ---- listen ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "advice"), [(414, "name fewer --types"), (429, "try again"), (500, "logs connect")])
def test_a_refused_handshake_says_what_to_do(status: int, advice: str) -> None:
    assert advice in _advice(f"refused with status {status}")
    assert _advice("refused with status 503") == _advice("the line is dead") == ""
