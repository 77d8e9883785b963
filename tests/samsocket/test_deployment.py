"""What becomes of a stack on the emulator, in front of a fake CloudFormation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from samsocket import sdk
from samsocket.emulation.deployment import Account, Deployment
from samsocket.project.expansion import Project


class CloudFormation:
    """Deploys at once; a resource whose properties say Bad fails, and the stack is rolled back."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.events: list[dict[str, str]] = []
        self.deployed: list[str] = []

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        self._demand()
        return {"Stacks": [{"StackStatus": self.status}]}

    def create_stack(self, **request: Any) -> None:
        self._put(request["TemplateBody"], "CREATE", "ROLLBACK_COMPLETE")

    def update_stack(self, **request: Any) -> None:
        self._put(request["TemplateBody"], "UPDATE", "UPDATE_ROLLBACK_COMPLETE")

    def delete_stack(self, **_: str) -> None:
        self.status = None

    def get_paginator(self, _: str) -> CloudFormation:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        self._demand()
        return [{"StackEvents": self.events, "StackResourceSummaries": []}]

    def _put(self, text: str, kind: str, failed: str) -> None:
        resources = json.loads(text)["Resources"]
        bad = [name for name, resource in resources.items() if "Bad" in resource["Properties"]]
        for name in bad[:1]:
            event = {"LogicalResourceId": name, "ResourceStatus": f"{kind}_FAILED", "ResourceStatusReason": "bad"}
            self.events.insert(0, {"EventId": str(len(self.events)), **event})
        self.status = failed if bad else f"{kind}_COMPLETE"
        if not bad:
            self.deployed = list(resources)

    def _demand(self) -> None:
        if self.status is None:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "any")


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> CloudFormation:
    fake = CloudFormation()
    monkeypatch.setattr(Account, "client", lambda *_: fake)
    return fake


def project(**resources: dict[str, Any]) -> Project:
    queues = {name: {"Type": "AWS::SQS::Queue", "Properties": properties} for name, properties in resources.items()}
    return Project(Path("template.yaml"), {}, {"Resources": queues}, {})


BAD: dict[str, Any] = {"Bad": True}


def test_a_resource_that_failed_is_deployed_once_it_is_corrected(cloudformation: CloudFormation) -> None:
    deployment = Deployment(Account.new(1, "us-east-1"), "samsocket", lambda _: None)
    assert set(deployment.put(project(One=BAD, Two={}), {}, "http://invoke").left_out) == {"One"}
    assert set(deployment.put(project(One={}, Two={}), {}, "http://invoke").left_out) == set()
    assert cloudformation.deployed == ["One", "Two"]


def test_what_failed_in_an_earlier_change_is_not_blamed_for_this_one(cloudformation: CloudFormation) -> None:
    deployment = Deployment(Account.new(1, "us-east-1"), "samsocket", lambda _: None)
    deployment.put(project(One={}, Two={}), {}, "http://invoke")
    deployment.put(project(One=BAD, Two={}), {}, "http://invoke")
    assert set(deployment.put(project(One={}, Two=BAD), {}, "http://invoke").left_out) == {"Two"}
    assert cloudformation.deployed == ["One"]


def test_a_client_of_the_emulator_heeds_neither_a_proxy_nor_the_users_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("not what AWS writes")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "nope")
    account = {"region": "us-east-1", "access_key": "a", "secret_key": "b"}
    client = sdk.client("sqs", endpoint_url="http://127.0.0.1:1", **account, read_timeout=1)
    assert client.meta.config.proxies == {}
