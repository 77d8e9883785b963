"""Update a stack by the change set that `sam deploy --no-execute-changeset` made: show it, apply it, and wait."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from operate import changes
from operate.errors import CommandError, StackNotDeployedError
from operate.state import ROOT

POLL_SECONDS: Final = 5.0
MADE_WITHIN: Final = timedelta(hours=1)
"""An older change set was left by somebody who meant another deployment."""
_ENDED_WELL: Final = ("CREATE_COMPLETE", "UPDATE_COMPLETE")


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def stack_of(environment: str) -> str:
    """Return the name of the stack of one section of samconfig.toml.

    Raises:
        CommandError: there is no such section.
    """
    config = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    try:
        return str(config[environment]["deploy"]["parameters"]["stack_name"])
    except KeyError:
        raise CommandError(f"samconfig.toml has no section {environment} with a stack_name.") from None


class Update:
    """The newest change set of a stack that can be applied."""

    def __init__(self, client: Any, stack: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        """Take a client of CloudFormation and the stack's name."""
        self._client, self.stack, self._pause = client, stack, pause
        self._change_set = self._newest()

    def __bool__(self) -> bool:
        """Whether there is anything to apply."""
        return self._change_set is not None

    def _newest(self) -> str | None:
        try:
            pages = self._client.get_paginator("list_change_sets").paginate(StackName=self.stack)
            made = [each for page in pages for each in page["Summaries"] if each["ExecutionStatus"] == "AVAILABLE"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ValidationError", "ChangeSetNotFound"):
                return None
            raise
        found = [each for each in made if each["CreationTime"] > now() - MADE_WITHIN]
        newest = max(found, key=lambda each: each["CreationTime"], default=None)
        return str(newest["ChangeSetId"]) if newest else None

    def changes(self) -> list[changes.Change]:
        """Return what it changes."""
        found: list[Any] = []
        token: dict[str, str] = {}
        while True:
            page = self._client.describe_change_set(ChangeSetName=self._change_set, **token)
            found += page.get("Changes", [])
            if not page.get("NextToken"):
                return list(changes.read(found))
            token = {"NextToken": page["NextToken"]}

    def discard(self) -> None:
        """Delete the change set, so that nobody applies it by mistake."""
        self._client.delete_change_set(ChangeSetName=self._change_set)

    def apply(self) -> Iterator[str]:
        """Apply it and wait for its end; return lines about what went wrong and where it stands.

        Raises:
            CommandError: the update failed; CloudFormation has brought back what was.
        """
        known = {each["EventId"] for each in self._events()}
        self._client.execute_change_set(ChangeSetName=self._change_set)
        status = ""
        while True:
            self._pause(POLL_SECONDS)
            for event in reversed([each for each in self._events() if each["EventId"] not in known]):
                known.add(event["EventId"])
                if line := _told(event, self.stack):
                    yield line
            current = status_of(self._client, self.stack)
            if current != status:
                status = current
                yield f"  {status.lower().replace('_', ' ')}"
            if not status.endswith("_IN_PROGRESS"):
                break
        if status not in _ENDED_WELL:
            raise CommandError(f"The deployment failed ({status}) and was taken back; the lines above say why.")

    def _events(self) -> list[Any]:
        try:
            found: list[Any] = self._client.describe_stack_events(StackName=self.stack)["StackEvents"]
        except ClientError:
            return []  # of a stack that is not there yet
        return found


def _told(event: Any, stack: str) -> str | None:
    """Return a line about an event of the stack that a person wants to know of."""
    logical_id, kind, status = event["LogicalResourceId"], event["ResourceType"], event["ResourceStatus"]
    if logical_id == stack:
        return None
    if status.endswith("_FAILED"):
        return f"! {logical_id}: {event.get('ResourceStatusReason', status)}"
    if kind == "AWS::Lambda::Alias" and "CodeDeploy" in event.get("ResourceStatusReason", ""):
        return f"  {logical_id}: {event['ResourceStatusReason']}"
    return None


def status_of(client: Any, stack: str) -> str:
    """Return a stack's status.

    Raises:
        StackNotDeployedError: it is not there.
    """
    return str(_described(client, stack)["StackStatus"])


def deployed_at(client: Any, stack: str) -> datetime:
    """Return when a stack's last deployment began.

    Raises:
        StackNotDeployedError: it is not there.
    """
    described = _described(client, stack)
    found: datetime = described.get("LastUpdatedTime") or described["CreationTime"]
    return found


def _described(client: Any, stack: str) -> Any:
    try:
        return client.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            raise StackNotDeployedError(stack, str(client.meta.region_name)) from error
        raise
