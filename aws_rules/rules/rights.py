"""The rights of roles: enough for Lambda to read for the function, and no rights that no policy names."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from aws_rules.parameters import ACCOUNT
from aws_rules.rules.mappings import function_of
from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import Resource, Stack, as_list

_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/"
_STREAM = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
_QUEUE = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")


def statements(stack: Stack, role: Resource) -> Iterator[dict[str, Any]]:
    """The statements of a role's own policies."""
    for policy in role.properties.get("Policies", []):
        yield from as_list(stack.concrete(policy["PolicyDocument"])["Statement"])


def role_of(stack: Stack, function: Resource) -> Resource | None:
    """The role that a function runs with."""
    return stack.referred(function.properties.get("Role"), "AWS::IAM::Role")


def may(stack: Stack, function: Resource, action: str, resource: str) -> bool:
    """Whether a function's role allows an action on a resource."""
    role = role_of(stack, function)
    return role is not None and any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(action.lower(), pattern.lower()) for pattern in as_list(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
        for statement in statements(stack, role)
    )


@rule("lambda-may-read-the-source", _LAMBDA + "lambda-intro-execution-role.html")
def lambda_may_read_the_source(case: Case) -> Iterator[Broken]:
    """A function's role lets Lambda read each stream and queue that is mapped to it, or the mapping is refused."""
    for mapping in case.stack.of_type("AWS::Lambda::EventSourceMapping"):
        function = function_of(case.stack, mapping)
        arn = str(case.stack.concrete(mapping.properties["EventSourceArn"]))
        needed = [f"dynamodb:{each}" for each in _STREAM] if ":dynamodb:" in arn else [f"sqs:{each}" for each in _QUEUE]
        for action in needed:
            if function and not may(case.stack, function, action, arn):
                yield Broken(function.logical_id, "Role", f"lacks {action} on {arn}, which {mapping.logical_id} reads")


@rule("lambda-may-leave-failures", _LAMBDA + "invocation-async-retain-records.html")
def lambda_may_leave_failures(case: Case) -> Iterator[Broken]:
    """A function's role lets Lambda put failures into the queue that is named for them."""
    for kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::EventInvokeConfig"):
        for resource in case.stack.of_type(kind):
            function = function_of(case.stack, resource)
            failure = resource.properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
            arn = str(case.stack.concrete(failure))
            if failure and function and not may(case.stack, function, "sqs:SendMessage", arn):
                yield Broken(function.logical_id, "Role", f"lacks sqs:SendMessage on {arn}")


@rule("a-function-may-log", _LAMBDA + "monitoring-cloudwatchlogs-loggroups.html")
def a_function_may_log(case: Case) -> Iterator[Broken]:
    """A function may write to its log group, which this stack makes, with a retention."""
    for function in case.stack.of_type("AWS::Lambda::Function"):
        group = case.stack.referred(function.properties.get("LoggingConfig"), "AWS::Logs::LogGroup")
        if group is None:
            yield Broken(function.logical_id, "LoggingConfig", "names no log group of the stack's")
            continue
        if "RetentionInDays" not in group.properties:
            yield Broken(group.logical_id, "RetentionInDays", "is not set: logs are kept for ever")
        arn = str(case.stack.concrete({"Fn::GetAtt": [group.logical_id, "Arn"]}))
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            if not may(case.stack, function, action, arn):
                yield Broken(function.logical_id, "Role", f"lacks {action} on {group.logical_id}")


@rule(
    "posting-is-allowed-on-every-stage",
    "https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-control-access-iam.html",
)
def posting_is_allowed_on_every_stage(case: Case) -> Iterator[Broken]:
    """A function with the management endpoint may call it on every stage, by a right in API Gateway's own form."""
    stack = case.stack
    for function in stack.of_type("AWS::Lambda::Function"):
        role = role_of(stack, function)
        given = (
            [each for each in statements(stack, role) if "execute-api:ManageConnections" in as_list(each["Action"])]
            if role
            else []
        )
        patterns = [pattern for statement in given for pattern in as_list(statement["Resource"])]
        for pattern in patterns:
            method = pattern.split("/")[2:3]
            if method not in (["POST"], ["GET"], ["DELETE"]) or not pattern.endswith("/@connections/*"):
                yield Broken(function.logical_id, "Role", f"{pattern} is not api/stage/METHOD/@connections/*")
        if "MANAGEMENT_ENDPOINT" not in function.properties.get("Environment", {}).get("Variables", {}):
            continue
        for stage in stack.of_type("AWS::ApiGatewayV2::Stage"):
            api, name = (stack.concrete(stage.properties[each]) for each in ("ApiId", "StageName"))
            start = f"arn:aws:execute-api:{stack.region}:{ACCOUNT}:{api}/{name}/"
            if not any(
                fnmatchcase(f"{start}{method}/@connections/x", pattern)
                for pattern in patterns
                for method in ("POST", "GET")
            ):
                yield Broken(function.logical_id, "Role", f"may call the management API of no connection of {name}")


@rule(
    "no-wildcard-action", "https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege"
)
def no_wildcard_action(case: Case) -> Iterator[Broken]:
    """No role allows all actions of a service, nor any action on everything."""
    for role in case.stack.of_type("AWS::IAM::Role"):
        for statement in statements(case.stack, role):
            for action in as_list(statement["Action"]):
                if "*" in action:
                    yield Broken(role.logical_id, "Policies", f"allows {action}")
            if "*" in as_list(statement["Resource"]):
                yield Broken(role.logical_id, "Policies", "allows something on every resource")
