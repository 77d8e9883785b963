"""`realtime verify`: it passes, and it gives the right advice after a part is removed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.stack import Stack, eventually
from operate.tokens import new_secret
from operate.verify.operation import QUEUES
from operate.verify.run import MAX_USERS, PREFIX, stack_mark
from samsocket.settings import Settings
from tests.e2e.roles import Role

pytestmark = pytest.mark.timeout(300)

MOST_SECONDS = 90
HOUR = 3600


@pytest.fixture(scope="module", autouse=True)
def _emptied_queues(stack: Stack) -> None:
    """Without what other tests left in the queues of failures, a complete stack has no fault."""
    for output in QUEUES:
        stack.aws("sqs").purge_queue(QueueUrl=stack.outputs[output])


class Verified:
    """The output and the report of a run."""

    def __init__(self, code: int, text: str, report: dict[str, Any]) -> None:
        self.code, self.text, self.report = code, text, report
        self.lines: dict[str, dict[str, Any]] = {line["key"]: line for line in report["lines"]}

    def failed(self) -> set[str]:
        return {key for key, line in self.lines.items() if line["verdict"] == "failed"}


def command(stack: Stack, file: Path, *arguments: str) -> list[str]:
    state = ["--state", str(stack.folder.path)]
    return [sys.executable, "-m", "operate.cli", "verify", *state, "--report", str(file), *arguments]


def verify(stack: Stack, folder: Path, *arguments: str) -> Verified:
    """Run it, as an operator does."""
    file = folder / "report.json"
    done = subprocess.run(
        command(stack, file, *arguments), capture_output=True, text=True, timeout=200, check=False, env=dict(os.environ)
    )
    assert file.exists(), done.stdout + done.stderr
    return Verified(done.returncode, done.stdout, json.loads(file.read_text(encoding="utf-8")))


def everything_of_verify(stack: Stack) -> list[str]:
    """What is left of runs: items of test users, rules and queues; but not what broadcast notes for a minute."""
    left = []
    for table in ("UsersTableName", "ConnectionsTableName", "EventsTableName"):
        pages = stack.dynamodb.get_paginator("scan").paginate(TableName=stack.outputs[table])
        items = [json.dumps(item, default=str) for page in pages for item in page["Items"]]
        left += [item for item in items if PREFIX in item and '"posted/' not in item]
    rules = stack.aws("events").list_rules(EventBusName=stack.outputs["BusName"], NamePrefix=PREFIX)["Rules"]
    queues = stack.aws("sqs").list_queues(QueueNamePrefix=PREFIX).get("QueueUrls", [])
    return [*left, *(rule["Name"] for rule in rules), *queues]


async def test_a_right_that_broadcast_lacks_is_named(stack: Stack, tmp_path: Path) -> None:
    await stack.set_gateway(decision_seconds=0.001)
    role = Role(stack, "Broadcast")
    try:
        with role.without(role.rights()["execute-api:ManageConnections POST"]):
            run = verify(stack, tmp_path, "--only", "tell.call", "--patience", "8")
    finally:
        await stack.set_gateway(decision_seconds=Settings().decision_seconds)
    assert run.code == 1
    assert run.failed() == {"tell.call_started", "tell.call_billing", "tell.call_ended"}
    advice = run.lines["tell.call_started"]["advice"]
    assert advice.startswith("Give the role of the function broadcast the right execute-api:ManageConnections for POST")
    assert advice in run.text


@contextmanager
def other_keys(stack: Stack) -> Iterator[None]:
    """Other secrets under the ids of those that connect knows."""
    secrets, place = stack.aws("secretsmanager"), stack.outputs["TokenKeys"]
    before = secrets.get_secret_value(SecretId=place)["SecretString"]
    secrets.put_secret_value(
        SecretId=place, SecretString=json.dumps({each: new_secret() for each in json.loads(before)})
    )
    try:
        yield
    finally:
        secrets.put_secret_value(SecretId=place, SecretString=before)


async def test_keys_that_connect_does_not_know_are_named(stack: Stack, tmp_path: Path) -> None:
    stack.restart_function("Connect")
    async with stack.connect("feed", stack.new_user()):
        pass  # by which it has just read its keys, and keeps them for minutes
    with other_keys(stack):
        run = verify(stack, tmp_path, "--only", "door")
    assert run.failed() == {"door.open"}
    assert "AUTH_FAILED" in run.lines["door.open"]["says"]
    assert "within the last 5 minutes" in run.lines["door.open"]["advice"]
    assert stack.outputs["TokenKeys"] in run.text  # which the report leaves out
    assert run.lines["door.feed"]["verdict"] == "skipped"  # one reason is enough


async def test_deleted_keys_are_named_with_the_way_to_restore_them(stack: Stack, tmp_path: Path) -> None:
    secrets, place = stack.aws("secretsmanager"), stack.outputs["TokenKeys"]
    secrets.delete_secret(SecretId=place)
    try:
        run = verify(stack, tmp_path, "--only", "door")
    finally:
        secrets.restore_secret(SecretId=place)
    assert run.failed() == {"setup.tokens"}
    assert "aws secretsmanager restore-secret" in run.lines["setup.tokens"]["advice"]


async def test_a_route_response_that_is_missing_is_named(stack: Stack, tmp_path: Path) -> None:
    await stack.set_gateway(withhold_route_response=True)
    try:
        run = verify(stack, tmp_path, "--only", "door", "--only", "talk.sync")
    finally:
        await stack.set_gateway(withhold_route_response=False)
    assert run.failed() == {"door.pong"}
    assert "route response" in run.lines["door.pong"]["advice"]
    assert "create-route-response" in run.lines["door.pong"]["advice"]
    assert run.lines["door.feed"]["verdict"] == "passed"
    assert run.lines["talk.sync"]["verdict"] == "skipped"


async def test_a_run_removes_what_an_earlier_killed_run_left(stack: Stack, tmp_path: Path) -> None:
    run = f"{int(time.time()) - HOUR:08x}"
    stack.aws("sqs").create_queue(QueueName=f"{PREFIX}{stack_mark(stack.running.stack)}-{run}")
    stack.dynamodb.put_item(
        TableName=stack.outputs["UsersTableName"], Item={"user_id": {"S": f"{PREFIX}{run}-{MAX_USERS - 1}"}}
    )
    stack.dynamodb.put_item(
        TableName=stack.outputs["EventsTableName"],
        Item={"audience": {"S": f"calls/{PREFIX}{run}-0"}, "event_id": {"S": "0"}},
    )
    said = verify(stack, tmp_path, "--only", "setup.outputs").text
    assert f"Removed what an earlier run left: {run}." in said
    assert everything_of_verify(stack) == []


async def test_an_interrupted_run_leaves_nothing(stack: Stack, tmp_path: Path) -> None:
    line = command(stack, tmp_path / "report.json")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as running:  # noqa: ASYNC220  # nothing else runs
        await eventually(lambda: bool(everything_of_verify(stack)), "something was made")
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=100)
    assert running.returncode == 130
    assert said.endswith("Removing what verify made …\nStopped.\n")
    assert everything_of_verify(stack) == []


# ---- last, so that it also shows that the removed parts are back ---------------------------------------------------


@pytest.fixture(scope="module")
def whole_run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Verified:
    """A run of everything, or a second one: when pytest repeats a failed test, it does not repeat this."""
    run = verify(stack, tmp_path_factory.mktemp("whole"))
    return verify(stack, tmp_path_factory.mktemp("again")) if run.failed() else run


async def test_all_lines_pass_on_a_complete_stack(whole_run: Verified) -> None:
    assert whole_run.failed() == set(), whole_run.text
    assert whole_run.code == 0
    assert whole_run.report["counts"]["passed"] > 50
    assert whole_run.report["counts"]["found"] > 12
    assert whole_run.report["seconds"] < MOST_SECONDS


async def test_a_run_leaves_nothing_in_the_account(stack: Stack, whole_run: Verified) -> None:
    assert everything_of_verify(stack) == []


async def test_the_report_holds_no_secret_no_token_and_no_account(stack: Stack, whole_run: Verified) -> None:
    text = json.dumps(whole_run.report)
    secrets = stack.deployment.token_keys().values()
    assert secrets
    assert not [secret for secret in secrets if secret in text]
    assert not re.search(r"eyJ|(?<!\d)\d{12}(?!\d)|arn:aws:iam", text)
