"""A change set in plain words: what is lost comes first."""

from __future__ import annotations

from typing import Any

from operate.changes import read, told


def change(action: str, kind: str, logical_id: str, *, properties: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return one entry of DescribeChangeSet's `Changes`."""
    recreation = {"True": "Always", "Conditional": "Conditionally"}.get(more.get("Replacement", ""), "Never")
    details = [
        {"Target": {"Attribute": "Properties", "Name": name, "RequiresRecreation": recreation}} for name in properties
    ]
    described = {"Action": action, "ResourceType": kind, "LogicalResourceId": logical_id, "Details": details, **more}
    return {"Type": "Resource", "ResourceChange": described}


def lines(*changes: dict[str, Any]) -> list[str]:
    return told(read(changes))


def test_a_table_that_is_replaced_is_named_first_with_its_reason_and_what_is_lost() -> None:
    found = lines(
        change("Add", "AWS::CloudWatch::Alarm", "AnAlarm"),
        change("Modify", "AWS::DynamoDB::Table", "UsersTable", properties=("KeySchema",), Replacement="True"),
    )
    assert found == [
        "! replaces UsersTable, DynamoDB Table (KeySchema) – its items are lost",
        "  makes AnAlarm, CloudWatch Alarm",
    ]


def test_a_table_that_may_be_replaced_and_a_queue_that_is_deleted_are_losses_too() -> None:
    found = lines(
        change("Modify", "AWS::DynamoDB::Table", "EventsTable", properties=("TableName",), Replacement="Conditional"),
        change("Remove", "AWS::SQS::Queue", "LateQueue", PolicyAction="Delete"),
        change("Remove", "AWS::SecretsManager::Secret", "TokenKeysSecret"),
    )
    assert all(line.startswith("! ") for line in found)
    assert "! deletes LateQueue, SQS Queue – its messages are lost" in found


def test_what_the_stack_lets_go_of_is_not_lost() -> None:
    assert lines(change("Remove", "AWS::SecretsManager::Secret", "TokenKeysSecret", PolicyAction="Retain")) == [
        "  lets go of TokenKeysSecret, SecretsManager Secret"
    ]


def test_a_change_in_place_names_its_properties() -> None:
    found = change(
        "Modify", "AWS::DynamoDB::Table", "UsersTable", properties=("Tags", "SSESpecification"), Replacement="False"
    )
    assert lines(found) == ["  changes UsersTable, DynamoDB Table (SSESpecification, Tags)"]


def test_the_versions_of_each_deployment_are_one_line() -> None:
    found = lines(
        change("Add", "AWS::Lambda::Version", "ConnectFunctionVersion1"),
        change("Remove", "AWS::Lambda::Version", "ConnectFunctionVersion0", PolicyAction="Retain"),
        change("Modify", "AWS::Lambda::Alias", "ConnectFunctionAliaslive", properties=("FunctionVersion",)),
    )
    assert found == [
        "  changes ConnectFunctionAliaslive, Lambda Alias (FunctionVersion)",
        "  publishes new versions, as each deployment does (2 resources)",
    ]


def test_nothing_is_said_to_be_nothing() -> None:
    assert lines() == ["  nothing changes"]
