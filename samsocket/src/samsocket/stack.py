"""A deployed stack as CloudFormation describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from samsocket import sdk
from samsocket.errors import EmulatorUnreachableError, StackNotFoundError, StartError
from samsocket.template import Stack


def describe(name: str, *, endpoint_url: str, region: str, access_key: str, secret_key: str) -> Stack:
    """Read a stack's parameters and physical ids. Blocks: call it before the event loop starts.

    Raises:
        EmulatorUnreachableError: nothing answers.
        StackNotFoundError: the stack is not deployed.
        StartError: CloudFormation refuses.
    """

    def new_client(service: str) -> Any:
        return sdk.client(
            service,
            endpoint_url=endpoint_url,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            read_timeout=30,
        )

    client = new_client("cloudformation")
    try:
        description = client.describe_stacks(StackName=name)["Stacks"][0]
        pages = client.get_paginator("list_stack_resources").paginate(StackName=name)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    except BotoConnectionError as error:
        raise EmulatorUnreachableError(endpoint_url) from error
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # about a name: CloudFormation has no such stack
            raise StackNotFoundError(name, endpoint_url) from error
        raise StartError(f"cannot read stack {name} at {endpoint_url}: {error}") from error
    except BotoCoreError as error:
        raise StartError(f"cannot read stack {name} at {endpoint_url}: {error}") from error
    _, partition, _, _, account, _ = description["StackId"].split(":", 5)
    types = {resource["LogicalResourceId"]: resource["ResourceType"] for resource in resources}
    ids = [(resource["ResourceType"], resource.get("PhysicalResourceId", "")) for resource in resources]
    return Stack(
        name=name,
        region=region,
        account=account,
        partition=partition,
        parameters={
            parameter["ParameterKey"]: parameter.get("ResolvedValue", parameter.get("ParameterValue", ""))
            for parameter in description.get("Parameters", [])
        },
        physical={
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in resources
            if resource.get("PhysicalResourceId")
        },
        types=types,
        exports=_exports(client),
        shown=_shown(new_client("apigatewayv2"), [found for kind, found in ids if kind == "AWS::ApiGatewayV2::Api"]),
        key_values=_key_values(
            new_client("apigateway"), [found for kind, found in ids if kind == "AWS::ApiGateway::ApiKey"]
        ),
    )


def _exports(client: Any) -> dict[str, str]:
    """Return the values that stacks export; none if the emulator does not list them."""
    try:
        pages = client.get_paginator("list_exports").paginate()
        return {export["Name"]: export["Value"] for page in pages for export in page.get("Exports", [])}
    except (ClientError, BotoCoreError):
        return {}


def _shown(client: Any, api_ids: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return integrations, routes and authorizers by id, as API Gateway shows them; none if the emulator does not."""
    shown: dict[str, Mapping[str, Any]] = {}
    for api_id in api_ids:
        for operation, key in (
            ("get_integrations", "IntegrationId"),
            ("get_routes", "RouteId"),
            ("get_authorizers", "AuthorizerId"),
        ):
            try:
                items = getattr(client, operation)(ApiId=api_id).get("Items", [])
            except (ClientError, BotoCoreError):
                continue
            shown.update({item[key]: item for item in items if key in item})
    return shown


def _key_values(client: Any, key_ids: list[str]) -> dict[str, str]:
    """Return the values of API keys by id; those that the emulator does not show are left out."""
    values = {}
    for key_id in key_ids:
        try:
            values[key_id] = str(client.get_api_key(apiKey=key_id, includeValue=True)["value"])
        except (ClientError, BotoCoreError, KeyError):
            continue
    return values
