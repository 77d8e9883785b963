"""The roles of a running stack's functions, and a way to take one of their rights away for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.stack import Stack

Right = tuple[str, str]
Document = dict[str, Any]


class Role:
    """A function's role in the running stack, and its one policy."""

    def __init__(self, stack: Stack, function: str) -> None:
        described = stack.aws("cloudformation").describe_stack_resource(
            StackName=stack.running.stack, LogicalResourceId=f"{function}Role"
        )
        self._stack, self._iam = stack, stack.aws("iam")
        self._name: str = described["StackResourceDetail"]["PhysicalResourceId"]
        (self._policy,) = self._iam.list_role_policies(RoleName=self._name)["PolicyNames"]
        self.document: Document = self._iam.get_role_policy(RoleName=self._name, PolicyName=self._policy)[
            "PolicyDocument"
        ]

    def rights(self) -> dict[str, Right]:
        """Each action on each resource, by the name that it has in `PROOFS`."""
        found: dict[str, Right] = {}
        for statement in self.document["Statement"]:
            for action in _as_list(statement["Action"]):
                for resource in _as_list(statement["Resource"]):
                    found[f"{action} {self._name_of(resource)}".strip()] = (action, resource)
        return found

    @contextmanager
    def without(self, right: Right) -> Iterator[None]:
        """Take one right away for a while."""
        pairs = [each for each in self.rights().values() if each != right]
        statements = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in pairs]
        self._put({"Version": "2012-10-17", "Statement": statements})
        try:
            yield
        finally:
            self._put(self.document)

    def _put(self, document: Document) -> None:
        self._iam.put_role_policy(RoleName=self._name, PolicyName=self._policy, PolicyDocument=json.dumps(document))

    def _name_of(self, resource: str) -> str:
        """The logical name of an ARN's resource; empty if the action says enough."""
        if ":execute-api:" in resource:
            return resource.split("/")[2]
        if "/index/" in resource:
            return resource.rsplit("/", 1)[1]
        if "/stream/" in resource:
            return ""
        physical = resource.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
        for output, value in self._stack.outputs.items():
            if output.endswith("TableName") and value == physical:
                return output.removesuffix("Name")
            if output.endswith("QueueUrl") and value.endswith(f"/{physical}"):
                return output.removesuffix("Url")
        return ""


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
