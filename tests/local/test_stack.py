"""Errors that can be found before the start are reported before the start."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from local import stack
from local.errors import PortTakenError, ToolMissingError
from local.stack import EmbeddedStack, Options, Tools, complaint, free_port
from operate.state import StateFolder
from samsocket.errors import ServiceEndedError, StepFailedError
from samsocket.processes import Program, environment, no_proxy_on_this_machine


def program(tmp_path: Path, script: str) -> Program:
    return Program("trial", [sys.executable, "-c", script], environment(), tmp_path, tmp_path / "trial.log")


@pytest.mark.parametrize("missing", ["sam/bin/sam", "ministack/bin/ministack", "uv/bin/uv"])
def test_a_missing_tool_is_named_with_the_command_that_installs_it(tmp_path: Path, missing: str) -> None:
    for tool in {"sam/bin/sam", "ministack/bin/ministack", "uv/bin/uv"} - {missing}:
        (tmp_path / tool).parent.mkdir(parents=True)
        (tmp_path / tool).touch()
    with pytest.raises(ToolMissingError, match=f"{missing}.*make setup"):
        Tools.installed(tmp_path)


def test_a_taken_port_is_named_with_the_option_that_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} is taken.*--aws-port"), free_port(port, "--aws-port"):
            pytest.fail("held a taken port")


def test_two_free_ports_differ() -> None:
    with free_port(0, "--port") as one, free_port(0, "--aws-port") as other:
        assert one != other


def test_a_stack_knows_its_addresses_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.Tools, "installed", lambda: Tools(tmp_path, tmp_path, tmp_path))
    with free_port(0, "") as port, free_port(0, "") as aws_port:
        pass
    running = EmbeddedStack(StateFolder(tmp_path), Options(port, aws_port), print).running
    assert running.websocket_url == f"ws://localhost:{port}/ws"
    assert running.management_url == f"http://localhost:{port}/_aws/execute-api/realtime"
    assert running.aws_endpoint_url == f"http://127.0.0.1:{aws_port}"
    assert running.page_url == f"http://localhost:{port}/"
    assert running.state == "starting"


async def test_a_step_that_fails_shows_the_end_of_what_it_said(tmp_path: Path) -> None:
    script = "for line in range(100): print('line', line)\nraise SystemExit(2)"
    with pytest.raises(StepFailedError, match="exit code 2") as failed:
        await program(tmp_path, script).run()
    assert "line 99" in str(failed.value)
    assert "line 10\n" not in str(failed.value)
    assert str(tmp_path / "trial.log") in str(failed.value)


async def test_a_step_that_is_cancelled_is_ended(tmp_path: Path) -> None:
    touched = tmp_path / "begun"
    script = f"import pathlib, time; pathlib.Path({str(touched)!r}).touch(); time.sleep(600)"
    running = asyncio.create_task(program(tmp_path, script).run())
    async with asyncio.timeout(10):
        while not touched.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_service_that_ends_is_an_error_even_without_one_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ServiceEndedError, match="exit code 0"):
        await program(tmp_path, "print('bye')").attend()


def test_nothing_of_this_machines_aws_settings_reaches_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("KEPT", "yes")
    variables = environment("AWS_", AWS_REGION="us-east-1")
    assert "AWS_PROFILE" not in variables
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["KEPT"] == "yes"


def test_the_emulators_last_complaint_is_found(tmp_path: Path) -> None:
    log = tmp_path / "emulator.log"
    log.write_text("10:00 INFO fine\n10:01 WARNING [lambda] broadcast: no module\n10:02 INFO fine\n")
    assert complaint(log) == "10:01 WARNING [lambda] broadcast: no module"
    log.write_text("10:00 INFO fine\n")
    assert complaint(log) is None


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_a_port_that_is_taken_for_ipv6_alone_is_named_too() -> None:
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no address ::1")
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port} is taken.*--port"), free_port(port, "--port"):
            pytest.fail("held a taken port")


@pytest.mark.parametrize(
    ("given", "excepted"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"no_proxy": "corp.example"}, "corp.example,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "a.example, b.example", "no_proxy": "127.0.0.1"}, "127.0.0.1,a.example,b.example,localhost,::1"),
    ],
)
def test_no_proxy_is_asked_for_this_machine_whatever_else_is_excepted(given: dict[str, str], excepted: str) -> None:
    assert no_proxy_on_this_machine(given) == {"no_proxy": excepted, "NO_PROXY": excepted}
