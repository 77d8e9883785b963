"""A deployed stack as CloudFormation describes it."""

from __future__ import annotations

from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from samsocket.errors import EmulatorUnreachableError, StackNotFoundError, StartError
from samsocket.template import Stack


def describe(name: str, *, endpoint_url: str, region: str, access_key: str, secret_key: str) -> Stack:
    """Read a stack's parameters and physical ids. Blocks: call it before the event loop starts.

    Raises:
        EmulatorUnreachableError: nothing answers.
        StackNotFoundError: the stack is not deployed.
        StartError: CloudFormation refuses.
    """
    client: Any = botocore.session.Session().create_client(
        "cloudformation",
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=30),
    )
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
        types={resource["LogicalResourceId"]: resource["ResourceType"] for resource in resources},
    )
