"""`realtime`, as a person uses it with a running stack."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from harness.stack import Stack

CALL = {"call_id": 456, "user_id": 123, "listener_id": 789, "call_type": "audio", "status": "ongoing"}


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    """The environment of a shell, with the stack's state folder and a profile that does not exist."""
    return {**os.environ, "REALTIME_STATE": str(stack.folder.path), "AWS_PROFILE": "of-another-project"}


def realtime(environment: dict[str, str], *arguments: str, code: int = 0, timeout: float = 60) -> str:
    """Run the console script and return what it printed."""
    command = [sys.executable, "-m", "operate.cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start the console script."""
    command = [sys.executable, "-m", "operate.cli", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_status_prints_all_addresses_for_programs(environment: dict[str, str]) -> None:
    status: dict[str, Any] = json.loads(realtime(environment, "status", "--json"))
    assert status["state"] == "ready"
    assert status["websocket_url"].startswith("ws://localhost:")
    assert status["websocket_url"].endswith("/ws")
    keys = {"page_url", "websocket_url", "management_url", "aws_endpoint_url", "region", "bus", "stack"}
    assert all(status[key] for key in keys)


def test_env_makes_boto3_reach_the_emulator(stack: Stack, environment: dict[str, str]) -> None:
    exports = realtime(environment, "env")
    script = "import boto3; print(boto3.client('events').describe_event_bus(Name='listener-realtime')['Arn'])"
    done = subprocess.run(
        ["bash", "-c", f'{exports}\n"$0" -c "$1"', sys.executable, script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == stack.outputs["BusArn"]


def test_listen_shows_what_publish_sends(stack: Stack, environment: dict[str, str]) -> None:
    user = str(stack.new_user())
    listening = start(environment, "listen", "calls", "--user", user, "--count", "1")
    while not stack.is_connected(user):
        assert listening.poll() is None
    published = realtime(environment, "publish", "call_started", "--detail", json.dumps(CALL | {"user_id": int(user)}))
    heard, _ = listening.communicate(timeout=60)
    (line,) = heard.splitlines()
    assert json.loads(line)["type"] == "call_started"
    assert json.loads(line)["data"] == CALL | {"user_id": int(user)}
    assert len(published.split()) == 1


def test_top_shows_connections_and_events_and_the_log_follows_an_event_to_its_post(
    stack: Stack, environment: dict[str, str]
) -> None:
    user = str(stack.new_user())
    listening = start(environment, "listen", "calls", "--user", user)
    try:
        while not stack.is_connected(user):
            assert listening.poll() is None
        detail = json.dumps(CALL | {"user_id": int(user)})
        trace_id = realtime(environment, "publish", "call_started", "--detail", detail).strip()
        deadline = time.monotonic() + 90
        while True:
            frame = json.loads(realtime(environment, "top", "--json"))
            seen = {line.split('"message":"')[1].split('"')[0] for line in logged(environment, trace_id)}
            counts = frame["measures"]["counts"]
            if (
                "call_started" in counts.get("Events", {})
                and "Delivered" in counts
                and {"ingested", "broadcast"} <= seen
            ):
                break
            assert time.monotonic() < deadline, (frame, seen)
        assert frame["connections"]["calls"] >= 1
        assert (frame["notes"], frame["alarms"]["raised"]) == ([], [])
        assert {"BackendEvents", "Deadlines"} <= frame["queues"].keys()
        assert "no alarm" in realtime(environment, "top", "--once")
    finally:
        listening.terminate()
        listening.communicate(timeout=60)


def logged(environment: dict[str, str], trace_id: str) -> list[str]:
    """Return the lines of all logs that have a trace."""
    return [line for line in realtime(environment, "logs").splitlines() if trace_id in line]


def test_a_token_can_be_given_in_place_of_a_user(stack: Stack, environment: dict[str, str]) -> None:
    token = realtime(environment, "token", "--user", str(stack.new_user()), "--scope", "calls").strip()
    heard = realtime(environment, "listen", "feed", "--token", token, "--count", "1")
    assert json.loads(heard)["data"]["code"] == "PERMISSION_DENIED"


def test_an_expired_token_can_be_made(stack: Stack, environment: dict[str, str]) -> None:
    heard = realtime(environment, "listen", "feed", "--user", str(stack.new_user()), "--ttl", "-60", "--count", "1")
    assert json.loads(heard)["data"]["code"] == "AUTH_FAILED"


def test_logs_show_what_one_function_did(environment: dict[str, str]) -> None:
    lines = realtime(environment, "logs", "connect").splitlines()
    assert lines
    assert {line.split()[1] for line in lines} == {"connect"}


async def test_a_user_is_seen_and_disconnected(stack: Stack, environment: dict[str, str]) -> None:
    user = stack.new_user()
    async with stack.connect("calls", user) as client:
        seen = await asyncio.to_thread(realtime, environment, "connections", str(user), "--json")
        (connection,) = json.loads(seen)
        assert connection["stage"] == "calls"
        closing = ("disconnect", "--connection", connection["connection_id"], "--reason", "Goodbye")
        assert connection["connection_id"] in await asyncio.to_thread(realtime, environment, *closing)
        assert (await client.hears("error"))["data"]["message"] == "Goodbye"


async def test_a_user_is_forgotten_with_all_that_names_them(stack: Stack, environment: dict[str, str]) -> None:
    user, other = stack.new_user(), stack.new_user()
    async with stack.connect("calls", user) as client, stack.connect("calls", other) as kept:
        stack.publish("call_started", CALL | {"call_id": user, "user_id": user, "listener_id": other})
        await client.hears("call_started")
        would = await asyncio.to_thread(realtime, environment, "forget", str(user), "--dry-run")
        assert "user would be erased" in would
        erased = await asyncio.to_thread(realtime, environment, "forget", str(user), "--yes", timeout=120)
        assert "calls erased" in erased
        await kept.pings()
    left = await asyncio.to_thread(realtime, environment, "forget", str(user), "--dry-run")
    assert left == f"Nothing names user {user}.\n"
    assert stack.user(other)


def test_detail_that_is_not_json_is_refused(environment: dict[str, str]) -> None:
    assert "not JSON" in realtime(environment, "publish", "call_started", "--detail", "{", code=2)


def test_a_second_stack_in_the_same_folder_is_refused(environment: dict[str, str]) -> None:
    said = realtime(environment, "up", "--port", "0", code=1)
    assert "already runs" in said
    assert "realtime down" in said


def test_a_taken_port_is_named(stack: Stack, environment: dict[str, str], tmp_path: object) -> None:
    port = stack.running.websocket_url.split(":")[2].split("/")[0]
    said = realtime(environment, "up", "--port", port, "--state", str(tmp_path), code=1)
    assert f"Port {port} is taken" in said
    assert "--port" in said
