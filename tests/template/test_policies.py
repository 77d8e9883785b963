"""Each function may do what it needs, on what it needs, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cloudformation import resources

TABLE_STREAM = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}
QUEUE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
MANAGEMENT = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}"
TOKEN_PARAMETER = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter${TokenKeys}"
TOKEN_SECRET = json.dumps(
    {"Fn::If": ["HasTokenKeysSecret", {"Ref": "TokenKeysSecretArn"}, {"Fn::GetAtt": ["TokenKeysSecret", "Id"]}]}
)
BROADCAST = {
    "EventsTable.StreamArn": TABLE_STREAM,
    "${ConnectionsTable.Arn}/index/AudienceIndex": {"dynamodb:Query"},
    "ConnectionsTable.Arn": {"dynamodb:Query", "dynamodb:BatchWriteItem", "dynamodb:DeleteItem"},
    "UsersTable.Arn": {"dynamodb:UpdateItem"},
    MANAGEMENT + "/*/POST/@connections/*": {"execute-api:ManageConnections"},
    MANAGEMENT + "/*/DELETE/@connections/*": {"execute-api:ManageConnections"},
    "StreamFailuresQueue.Arn": {"sqs:SendMessage"},
}

RIGHTS: dict[str, dict[str, set[str]]] = {
    "Connect": {
        "ConnectionsTable.Arn": {"dynamodb:PutItem", "dynamodb:BatchWriteItem"},
        "UsersTable.Arn": {"dynamodb:UpdateItem"},
        "EventsTable.Arn": {"dynamodb:PutItem"},
        "FarewellsQueue.Arn": {"sqs:SendMessage"},
        TOKEN_PARAMETER: {"ssm:GetParameter"},
        TOKEN_SECRET: {"secretsmanager:GetSecretValue"},
        "TokenKeysKmsKeyArn": {"kms:Decrypt"},
    },
    "Disconnect": {
        "ConnectionsTable.Arn": {"dynamodb:Query", "dynamodb:BatchWriteItem"},
        "UsersTable.Arn": {"dynamodb:UpdateItem"},
    },
    "Default": {
        "ConnectionsTable.Arn": {
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            "dynamodb:Query",
            "dynamodb:BatchWriteItem",
        },
        "${ConnectionsTable.Arn}/index/AudienceIndex": {"dynamodb:Query"},
        "UsersTable.Arn": {"dynamodb:BatchGetItem"},
        "${UsersTable.Arn}/index/OnlineIndex": {"dynamodb:Query"},
        "EventsTable.Arn": {"dynamodb:PutItem", "dynamodb:Query", "dynamodb:DeleteItem"},
        "FarewellsQueue.Arn": {"sqs:SendMessage"},
        TOKEN_PARAMETER: {"ssm:GetParameter"},
        TOKEN_SECRET: {"secretsmanager:GetSecretValue"},
        "TokenKeysKmsKeyArn": {"kms:Decrypt"},
        MANAGEMENT + "/*/POST/@connections/*": {"execute-api:ManageConnections"},
    },
    "Ingest": {
        "ConnectionsTable.Arn": {"dynamodb:BatchGetItem"},
        "UsersTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:BatchGetItem"},
        "EventsTable.Arn": {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:GetItem"},
        "BackendEventsQueue.Arn": QUEUE | {"sqs:ChangeMessageVisibility"},
        "RejectedEventsQueue.Arn": {"sqs:SendMessage"},
        "DeadlinesQueue.Arn": {"sqs:SendMessage"},
    },
    "Announce": {
        "UsersTable.StreamArn": TABLE_STREAM,
        "EventsTable.Arn": {"dynamodb:BatchWriteItem"},
        "DeadlinesQueue.Arn": {"sqs:SendMessage"},
        "Bus.Arn": {"events:PutEvents"},
        "StreamFailuresQueue.Arn": {"sqs:SendMessage"},
    },
    "Broadcast": BROADCAST,
    "BroadcastWide": BROADCAST,
    "Deadlines": {
        "UsersTable.Arn": {"dynamodb:UpdateItem"},
        "EventsTable.Arn": {"dynamodb:GetItem", "dynamodb:DeleteItem"},
        "Bus.Arn": {"events:PutEvents"},
        "DeadlinesQueue.Arn": QUEUE,
    },
    "Farewell": {
        MANAGEMENT + "/*/POST/@connections/*": {"execute-api:ManageConnections"},
        MANAGEMENT + "/*/DELETE/@connections/*": {"execute-api:ManageConnections"},
        "FarewellsQueue.Arn": QUEUE | {"sqs:SendMessage"},
    },
    "Sweep": {
        "ConnectionsTable.Arn": {
            "dynamodb:Scan",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
            "dynamodb:BatchWriteItem",
        },
        "UsersTable.Arn": {"dynamodb:UpdateItem"},
        "${UsersTable.Arn}/index/OnlineIndex": {"dynamodb:Query"},
        "EventsTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "${EventsTable.Arn}/index/OpenCallsIndex": {"dynamodb:Query"},
        MANAGEMENT + "/*/GET/@connections/*": {"execute-api:ManageConnections"},
    },
}

FUNCTIONS = resources("AWS::Serverless::Function")
ROLES = resources("AWS::IAM::Role")


def as_text(resource: Any) -> str:
    """A resource's ARN as one string: `Table.Arn` for `!GetAtt Table.Arn`."""
    match resource:
        case {"Fn::GetAtt": [logical_id, attribute]}:
            return f"{logical_id}.{attribute}"
        case {"Ref": name}:
            return str(name)
        case {"Fn::Sub": str(text)}:
            return text
    return json.dumps(resource)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """All statements of a role, those that a condition chooses between among them."""
    found: list[dict[str, Any]] = []
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            found += _choices(statement)
    return found


def _choices(statement: dict[str, Any]) -> list[dict[str, Any]]:
    if "Fn::If" in statement:
        return [one for branch in statement["Fn::If"][1:] for one in _choices(branch)]
    return [] if statement == {"Ref": "AWS::NoValue"} else [statement]


def rights(role: dict[str, Any]) -> dict[str, set[str]]:
    """The actions that a role allows, by resource."""
    allowed: dict[str, set[str]] = {}
    for statement in statements(role):
        for resource in as_list(statement["Resource"]):
            allowed.setdefault(as_text(resource), set()).update(as_list(statement["Action"]))
    return allowed


def test_the_table_of_rights_names_every_function() -> None:
    assert {f"{name}Function" for name in RIGHTS} == FUNCTIONS.keys()


@pytest.mark.parametrize("name", RIGHTS)
def test_a_function_has_exactly_its_rights(name: str) -> None:
    log = {f"{name}Log.Arn": {"logs:CreateLogStream", "logs:PutLogEvents"}}
    assert rights(ROLES[f"{name}Role"]) == RIGHTS[name] | log


@pytest.mark.parametrize("name", RIGHTS)
def test_a_function_has_a_role_of_its_own(name: str) -> None:
    assert FUNCTIONS[f"{name}Function"]["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
    assert "ManagedPolicyArns" not in ROLES[f"{name}Role"]
    assert "Policies" not in FUNCTIONS[f"{name}Function"]


@pytest.mark.parametrize("name", RIGHTS)
def test_only_lambda_may_take_a_role(name: str) -> None:
    trust = ROLES[f"{name}Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust == [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]


@pytest.mark.parametrize("name", RIGHTS)
def test_no_statement_has_a_wildcard_but_for_the_management_api(name: str) -> None:
    for statement in statements(ROLES[f"{name}Role"]):
        assert statement["Effect"] == "Allow"
        assert "*" not in "".join(as_list(statement["Action"]))
        if statement["Action"] != "execute-api:ManageConnections":
            assert "*" not in json.dumps(statement["Resource"])


def test_there_are_no_roles_besides() -> None:
    assert ROLES.keys() == {f"{name}Role" for name in RIGHTS}


@pytest.mark.parametrize("queue", ["BackendEvents", "UndeliveredEvents"])
def test_only_the_rule_of_backends_events_may_fill_a_queue(queue: str) -> None:
    policy = resources("AWS::SQS::QueuePolicy")[f"{queue}Policy"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert policy["Queues"] == [{"Ref": f"{queue}Queue"}]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Resource"] == {"Fn::GetAtt": [f"{queue}Queue", "Arn"]}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["BackendEventsRule", "Arn"]}}}


def test_there_are_no_queue_policies_besides() -> None:
    assert resources("AWS::SQS::QueuePolicy").keys() == {"BackendEventsPolicy", "UndeliveredEventsPolicy"}
