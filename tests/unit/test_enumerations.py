from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import enumerations

KEY = {"TableName": "EventsTable", "Key": {"audience": {"S": "one"}}}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("put_item", {"TableName": "EventsTable", "Item": {"kind": {"S": "anything"}}, "ReturnValues": "ALL_OLD"}),
        ("update_item", {**KEY, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}),
        ("transact_write_items", {"TransactItems": [{"Put": {"ReturnValuesOnConditionCheckFailure": "NONE"}}]}),
        ("query", {"TableName": "EventsTable", "Select": "COUNT"}),
    ],
)
def test_listed_values_pass_and_others_are_refused(operation: str, request_: dict[str, Any]) -> None:
    enumerations.check("dynamodb", operation, request_)
    with pytest.raises(ClientError, match="ValidationException"):
        enumerations.check("dynamodb", operation, _with_other_values(request_))


def _with_other_values(value: Any) -> Any:
    """Return a request in which what is written in capitals is another word."""
    if isinstance(value, dict):
        return {name: _with_other_values(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_other_values(each) for each in value]
    return f"{value}X" if value.isupper() else value


def test_a_service_whose_client_is_ours_is_checked_by_its_whole_description() -> None:
    attribute = {"MessageAttributes": {"reason": {"DataType": "String", "StringValue": "any"}}}
    enumerations.check("sqs", "send_message", {"QueueUrl": "https://queue", "MessageBody": "any", **attribute})
    with pytest.raises(ClientError, match="AllAttributes"):
        enumerations.check("sqs", "receive_message", {"AttributeNames": ["AllAttributes"]})
