"""The console script without a stack."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result

from operate import tokens
from operate.cli import main


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
