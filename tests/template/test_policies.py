"""Each function has a role of its own, and no statement of it is wider than it must be.

`make policies` shows of each right on the running stack that the function needs it; the end-to-end tests show that it
needs no other.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cloudformation import resources

FUNCTIONS = resources("AWS::Serverless::Function")
ROLES = resources("AWS::IAM::Role")
NAMES = [name.removesuffix("Function") for name in FUNCTIONS]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """All statements of a role, including those that depend on a condition."""
    found: list[dict[str, Any]] = []
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            found += _choices(statement)
    return found


def _choices(statement: dict[str, Any]) -> list[dict[str, Any]]:
    if "Fn::If" in statement:
        return [one for branch in statement["Fn::If"][1:] for one in _choices(branch)]
    return [] if statement == {"Ref": "AWS::NoValue"} else [statement]


@pytest.mark.parametrize("name", NAMES)
def test_a_function_has_a_role_of_its_own(name: str) -> None:
    assert FUNCTIONS[f"{name}Function"]["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
    assert "ManagedPolicyArns" not in ROLES[f"{name}Role"]
    assert "Policies" not in FUNCTIONS[f"{name}Function"]


@pytest.mark.parametrize("name", NAMES)
def test_lambda_alone_may_assume_a_role(name: str) -> None:
    trust = ROLES[f"{name}Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust == [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]


@pytest.mark.parametrize("name", NAMES)
def test_statements_have_no_wildcard_except_for_the_management_api(name: str) -> None:
    for statement in statements(ROLES[f"{name}Role"]):
        assert statement["Effect"] == "Allow"
        assert "*" not in "".join(as_list(statement["Action"]))
        if statement["Action"] != "execute-api:ManageConnections":
            assert "*" not in json.dumps(statement["Resource"])


def test_there_are_no_other_roles() -> None:
    assert ROLES.keys() == {f"{name}Role" for name in NAMES}


@pytest.mark.parametrize("queue", ["BackendEvents", "UndeliveredEvents"])
def test_the_rule_of_backends_events_alone_may_send_to_a_queue(queue: str) -> None:
    policy = resources("AWS::SQS::QueuePolicy")[f"{queue}Policy"]
    statement, without_tls = policy["PolicyDocument"]["Statement"]
    assert without_tls["Fn::If"] == [
        "InCloud",
        denial({"Fn::GetAtt": [f"{queue}Queue", "Arn"]}),
        {"Ref": "AWS::NoValue"},
    ]
    assert policy["Queues"] == [{"Ref": f"{queue}Queue"}]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Resource"] == {"Fn::GetAtt": [f"{queue}Queue", "Arn"]}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["BackendEventsRule", "Arn"]}}}


def denial(queue: Any) -> dict[str, Any]:
    """Return the statement that denies what comes to a queue without TLS."""
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    return {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": queue, "Condition": condition}


def test_the_other_queues_demand_tls_and_there_are_no_other_policies() -> None:
    policies = resources("AWS::SQS::QueuePolicy")
    assert policies.keys() == {"BackendEventsPolicy", "UndeliveredEventsPolicy", "TlsPolicy"}
    named = [each["Ref"] for policy in policies.values() for each in policy["Queues"]]
    assert sorted(named) == sorted(resources("AWS::SQS::Queue"))
    (statement,) = policies["TlsPolicy"]["PolicyDocument"]["Statement"]
    assert statement == denial({"Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:*"})


def test_every_role_may_use_the_key_that_encrypts_what_its_function_reads_and_writes() -> None:
    use = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": {"Ref": "KmsKeyArn"}}
    for name in NAMES:
        (policy,) = ROLES[f"{name}Role"]["Policies"]
        assert {"Fn::If": ["HasKmsKey", use, {"Ref": "AWS::NoValue"}]} in policy["PolicyDocument"]["Statement"]
