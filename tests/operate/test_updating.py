"""`realtime apply` and `realtime rollback`, on CloudFormation as recorded: shown, agreed to, applied or discarded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from operate import versions
from operate.cli import main
from operate.deployment import Clients, Deployment
from operate.errors import CommandError
from operate.updating import Update, stack_of

AT = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
STACK = "listener-realtime"
LOSS = {
    "Action": "Modify",
    "ResourceType": "AWS::DynamoDB::Table",
    "LogicalResourceId": "UsersTable",
    "Replacement": "True",
}
HARMLESS = {"Action": "Add", "ResourceType": "AWS::CloudWatch::Alarm", "LogicalResourceId": "AnAlarm"}


@pytest.fixture(autouse=True)
def _soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be a minute after the change set was made."""
    monkeypatch.setattr("operate.updating.now", lambda: AT + timedelta(minutes=1))


class FakeCloudFormation:
    """One stack with change sets; an update passes through `statuses`, and tells `events`."""

    def __init__(self, *changes: dict[str, Any], statuses: tuple[str, ...] = ("UPDATE_COMPLETE",)) -> None:
        self.change_sets = [_change_set("old", AT - timedelta(days=1)), _change_set("new", AT)] if changes else []
        self.changes = [{"Type": "Resource", "ResourceChange": each} for each in changes]
        self.statuses = list(statuses)
        self.status = "UPDATE_COMPLETE"
        self.events: list[dict[str, Any]] = []
        self.applied: list[str] = []
        self.discarded: list[str] = []
        self.cancelled = False

    def get_paginator(self, operation: str) -> FakeCloudFormation:
        assert operation == "list_change_sets"
        return self

    def paginate(self, *, StackName: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        yield {"Summaries": self.change_sets}

    def describe_change_set(self, *, ChangeSetName: str, NextToken: str = "") -> dict[str, Any]:  # noqa: N803
        at = int(NextToken or 0)  # a page has one change
        more = {"NextToken": str(at + 1)} if at + 1 < len(self.changes) else {}
        return {"Changes": self.changes[at : at + 1], **more}

    def delete_change_set(self, *, ChangeSetName: str) -> None:  # noqa: N803
        self.discarded.append(ChangeSetName)

    def execute_change_set(self, *, ChangeSetName: str) -> None:  # noqa: N803
        self.applied.append(ChangeSetName)

    def describe_stack_events(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        return {"StackEvents": self.events if self.applied else []}

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        if self.applied and self.statuses:
            self.status = self.statuses.pop(0)
        return {"Stacks": [{"StackStatus": self.status, "LastUpdatedTime": AT, "CreationTime": AT, "Outputs": []}]}

    def cancel_update_stack(self, *, StackName: str) -> None:  # noqa: N803
        self.cancelled = True


def _change_set(name: str, at: datetime) -> dict[str, Any]:
    return {"ChangeSetId": name, "CreationTime": at, "ExecutionStatus": "AVAILABLE"}


def update(cloud: FakeCloudFormation) -> Update:
    return Update(cloud, STACK, pause=lambda _: None)


def run(monkeypatch: pytest.MonkeyPatch, cloud: FakeCloudFormation, *arguments: str, typed: str = "") -> Result:
    """Run a command on the fake; nothing is pruned, as there are no functions."""
    monkeypatch.setattr(Clients, "in_cloud", classmethod(lambda _: FakeClients(cloud)))
    monkeypatch.setattr("operate.updating.POLL_SECONDS", 0)
    monkeypatch.setattr(versions, "functions", lambda *_: iter(()))
    return CliRunner().invoke(main, arguments, input=typed)


class FakeClients(Clients):
    def __init__(self, cloud: FakeCloudFormation) -> None:
        self._cloud: Any = cloud
        self.region = "us-east-1"

    def cloudformation(self) -> Any:
        return self._cloud

    def functions(self) -> Any:
        return None


def test_the_newest_change_set_is_applied_and_all_of_its_pages_are_told() -> None:
    cloud = FakeCloudFormation(LOSS, HARMLESS)
    found = update(cloud)
    assert [each.logical_id for each in found.changes()] == ["UsersTable", "AnAlarm"]
    assert list(found.apply()) == ["  update complete"]
    assert cloud.applied == ["new"]


def test_without_a_change_set_there_is_nothing_to_apply() -> None:
    assert not update(FakeCloudFormation())


def test_a_change_set_that_somebody_left_is_not_applied() -> None:
    cloud = FakeCloudFormation(HARMLESS)
    cloud.change_sets = [_change_set("left", AT - timedelta(hours=2))]
    assert not update(cloud)


def test_a_stack_that_is_not_there_has_nothing_to_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        response: Any = {"Error": {"Code": "ValidationError", "Message": "Stack does not exist"}}
        raise ClientError(response, "ListChangeSets")

    cloud = FakeCloudFormation(HARMLESS)
    monkeypatch.setattr(cloud, "paginate", refuse)
    assert not update(cloud)


def test_a_deployment_that_fails_names_the_resource_and_its_reason() -> None:
    cloud = FakeCloudFormation(HARMLESS, statuses=("UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"))
    about = {"EventId": "1", "LogicalResourceId": "ConnectFunctionAliaslive", "ResourceType": "AWS::Lambda::Alias"}
    why = "CodeDeploy: the alarm NewClientErrorsAlarm went off"
    cloud.events = [{**about, "ResourceStatus": "UPDATE_FAILED", "ResourceStatusReason": why}]
    lines: list[str] = []
    with pytest.raises(CommandError, match="UPDATE_ROLLBACK_COMPLETE"):
        lines.extend(update(cloud).apply())
    assert f"! ConnectFunctionAliaslive: {why}" in lines


def test_the_stack_of_an_environment_is_samconfigs() -> None:
    assert stack_of("prod") == "listener-realtime-prod"
    with pytest.raises(CommandError, match="no section elsewhere"):
        stack_of("elsewhere")


@pytest.mark.parametrize(
    ("change", "arguments", "typed", "is_applied"),
    [
        (HARMLESS, (), "y\n", True),
        (HARMLESS, (), "n\n", False),
        (HARMLESS, (), "", False),
        (HARMLESS, ("--yes",), "", True),
        (LOSS, (), "y\n", False),  # a loss must be agreed to by name
        (LOSS, (), f"{STACK}\n", True),
        (LOSS, ("--yes",), "", False),
        (LOSS, ("--yes", "--allow-loss"), "", True),
    ],
)
def test_a_deployment_is_applied_if_somebody_agrees_and_discarded_otherwise(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], arguments: tuple[str, ...], typed: str, is_applied: bool
) -> None:
    cloud = FakeCloudFormation(change)
    ended = run(monkeypatch, cloud, "apply", *arguments, typed=typed)
    assert ("! replaces UsersTable" in ended.output) == (change is LOSS)
    assert (cloud.applied, cloud.discarded) == ((["new"], []) if is_applied else ([], ["new"]))
    assert ended.exit_code == (0 if is_applied else 1)


def test_a_deployment_that_still_runs_is_cancelled_by_a_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = FakeCloudFormation()
    cloud.status = "UPDATE_IN_PROGRESS"
    deployment = Deployment(FakeClients(cloud), STACK, "wss://x", {})
    monkeypatch.setattr(Deployment, "in_cloud", classmethod(lambda *_: deployment))
    tried = run(monkeypatch, cloud, "rollback", "--stack", STACK, "--dry-run")
    assert (tried.exit_code, "would take it back" in tried.output, cloud.cancelled) == (0, True, False)
    assert "takes it back" in run(monkeypatch, cloud, "rollback", "--stack", STACK).output
    assert cloud.cancelled


def test_a_rollback_without_anything_to_take_back_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = FakeCloudFormation()
    deployment = Deployment(FakeClients(cloud), STACK, "wss://x", {})
    monkeypatch.setattr(Deployment, "in_cloud", classmethod(lambda *_: deployment))
    ended = run(monkeypatch, cloud, "rollback", "--stack", STACK)
    assert (ended.exit_code, "nothing to take back" in ended.output) == (1, True)
