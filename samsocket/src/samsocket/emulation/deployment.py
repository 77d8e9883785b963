"""Puts an expanded template on the emulator, without what the emulator does not deploy."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from samsocket import sdk
from samsocket.emulation.vault import ROLES
from samsocket.errors import StartError
from samsocket.project.adaptation import adapt
from samsocket.template import being_read

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from samsocket.project.expansion import Project

_UNKNOWN_TYPES: Final = re.compile(r"Unrecognized resource types: \[(?P<types>[^\]]*)\]")
_CAPABILITIES: Final = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
_INLINE_BYTES: Final = 51_200
_BUCKET: Final = "samsocket"
_ATTEMPTS: Final = 20
_SECONDS: Final = 300.0


@dataclass(frozen=True, kw_only=True)
class Account:
    """How to reach the emulator, and the access key of this run."""

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str

    @classmethod
    def new(cls, port: int, region: str) -> Account:
        """Make the account of an emulator on a port of this machine, with a key that nobody can guess."""
        return cls(
            endpoint_url=f"http://127.0.0.1:{port}",
            region=region,
            access_key=f"AKIA{secrets.token_hex(8).upper()}",
            secret_key=secrets.token_urlsafe(30),
        )

    def client(self, service: str) -> Any:
        """Return a client of a service."""
        return sdk.client(service, **dataclasses.asdict(self), read_timeout=120)

    def variables_of_role(self, function: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables by which a deployed function has its role's rights, and no others."""
        asked = {name: function[name] for name in ("FunctionArn", "FunctionName", "Role")}
        request = AWSRequest("POST", self.endpoint_url + ROLES, data=json.dumps(asked).encode())
        SigV4Auth(Credentials(self.access_key, self.secret_key), "lambda", self.region).add_auth(request)
        sent = urllib.request.Request(  # noqa: S310 - the emulator's own address
            self.endpoint_url + ROLES, data=request.data, headers=dict(request.headers.items())
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent) as answer:
            told: dict[str, str] = json.load(answer)
        return told

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables by which AWS's SDKs and tools reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@dataclass(frozen=True)
class Deployed:
    """What became of a template: what was `left_out`, and why, by logical id; the `functions` by logical id."""

    left_out: Mapping[str, str]
    functions: Mapping[str, Mapping[str, Any]]


class Deployment:
    """One stack on the emulator. Its methods block."""

    def __init__(self, account: Account, stack: str, say: Callable[[str], None]) -> None:
        """Name it; `say` shows a person what is tried again."""
        self._account, self._stack, self._say = account, stack, say
        self._client = account.client("cloudformation")
        self._not_deployed: dict[str, str] = {}

    def put(self, project: Project, parameters: Mapping[str, str], invoke_url: str) -> Deployed:
        """Create the stack, or change it.

        Raises:
            StartError: it cannot be deployed, whatever is left out.
        """
        # A type stays unknown; a resource that failed may have been corrected.
        self._not_deployed = {name: why for name, why in self._not_deployed.items() if "::" in name}
        for _ in range(_ATTEMPTS):
            with being_read(project.path):
                template, removed = adapt(project.expanded, invoke_url, self._not_deployed)
            problem = self._try(template, parameters)
            if not problem:
                return Deployed({**removed, **self._reasons(project)}, self._functions())
            self._not_deployed |= problem
        raise StartError(f"the emulator does not deploy the template: {self._not_deployed}")

    def _reasons(self, project: Project) -> dict[str, str]:
        resources = project.expanded["Resources"]
        return {
            logical_id: f"{resources[logical_id]['Type']}: {reason}"
            for logical_id, reason in self._not_deployed.items()
            if logical_id in resources
        }

    def _try(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, str]:
        """Deploy, and return the types and logical ids that prevent it, with the reason."""
        status, before = self._status(), {event["EventId"] for event in self._events()}
        request = {
            "StackName": self._stack,
            "Capabilities": _CAPABILITIES,
            "Parameters": [
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
                if name in template.get("Parameters", {})
            ],
            **self._body(template),
        }
        try:
            if status is None:
                self._client.create_stack(**request)
            else:
                self._client.update_stack(**request)
        except ClientError as error:
            message = str(error.response["Error"]["Message"])
            if "No updates are to be performed" in message:
                return {}
            if (unknown := _UNKNOWN_TYPES.search(message)) is not None:
                return dict.fromkeys(unknown["types"].split(", "), "the emulator does not know this type")
            raise StartError(f"the emulator refuses the template: {message}") from error
        if self._settled() in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return {}
        failed = self._first_failure(template, before)
        if status is None:
            self._client.delete_stack(StackName=self._stack)
            self._settled()
        return failed

    def _body(self, template: Mapping[str, Any]) -> dict[str, str]:
        text = json.dumps(template, default=str)
        if len(text) <= _INLINE_BYTES:
            return {"TemplateBody": text}
        storage = self._account.client("s3")
        storage.create_bucket(Bucket=_BUCKET)
        storage.put_object(Bucket=_BUCKET, Key="template.json", Body=text.encode())
        return {"TemplateURL": f"{self._account.endpoint_url}/{_BUCKET}/template.json"}

    def _status(self) -> str | None:
        try:
            status = str(self._client.describe_stacks(StackName=self._stack)["Stacks"][0]["StackStatus"])
        except ClientError:
            return None
        return None if status == "DELETE_COMPLETE" else status

    def _settled(self) -> str | None:
        deadline = time.monotonic() + _SECONDS
        while (status := self._status()) is not None and status.endswith("_IN_PROGRESS"):
            if time.monotonic() > deadline:
                raise StartError(f"the emulator still deploys after {_SECONDS:g} s")
            time.sleep(0.1)
        return status

    def _events(self) -> list[Mapping[str, Any]]:
        """Return what happened to the stack, the oldest last; nothing if there is none."""
        try:
            pages = self._client.get_paginator("describe_stack_events").paginate(StackName=self._stack)
            return [event for page in pages for event in page["StackEvents"]]
        except ClientError:
            return []

    def _first_failure(self, template: Mapping[str, Any], before: Collection[str]) -> dict[str, str]:
        """Return the resource that failed first; `before` are the ids of the events before this attempt.

        Raises:
            StartError: no single resource is to blame.
        """
        events = [event for event in self._events() if event["EventId"] not in before]
        for event in reversed(events):
            if event["ResourceStatus"].endswith("_FAILED") and event["LogicalResourceId"] in template["Resources"]:
                reason = str(event.get("ResourceStatusReason", "no reason given"))
                self._say(f"  {event['LogicalResourceId']} is left out: {reason}")
                return {event["LogicalResourceId"]: reason}
        reasons = [event["ResourceStatusReason"] for event in events if event.get("ResourceStatusReason")]
        raise StartError(f"the emulator does not deploy the template: {'; '.join(reasons[:3]) or 'no reason given'}")

    def _functions(self) -> dict[str, Mapping[str, Any]]:
        client = self._account.client("lambda")
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self._stack)
        return {
            resource["LogicalResourceId"]: client.get_function_configuration(
                FunctionName=resource["PhysicalResourceId"]
            )
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::Lambda::Function" and resource.get("PhysicalResourceId")
        }
