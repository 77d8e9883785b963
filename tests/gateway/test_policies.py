"""Which functions let API Gateway invoke them."""

from __future__ import annotations

from typing import Any

import pytest

from samsocket.policies import permits

ARN = "arn:aws:execute-api:us-east-1:000000000000:abc/feed/$connect"
SERVICE = {"Service": "apigateway.amazonaws.com"}


def statement(
    principal: Any = SERVICE, effect: str = "Allow", action: str = "lambda:InvokeFunction", **condition: Any
) -> Any:
    return {"Effect": effect, "Principal": principal, "Action": action, "Condition": condition}


def source(pattern: str, operator: str = "ArnLike") -> dict[str, Any]:
    return {operator: {"AWS:SourceArn": pattern}}


@pytest.mark.parametrize(
    ("statements", "permitted"),
    [
        ([], False),
        ([statement()], True),
        ([statement(action="lambda:*")], True),
        ([statement(action="lambda:invokefunction")], True),
        ([statement("*")], True),
        ([statement({"Service": "sns.amazonaws.com"})], False),
        ([statement({"AWS": "arn:aws:iam::000000000000:root"})], False),
        ([statement(action="lambda:GetFunction")], False),
        ([statement(**source("arn:aws:execute-api:us-east-1:000000000000:abc/*"))], True),
        ([statement(**source("arn:aws:execute-api:us-east-1:000000000000:abc/*/$connect"))], True),
        ([statement(**source("arn:aws:execute-api:us-east-1:000000000000:abc/*/$default"))], False),
        ([statement(**source("arn:aws:execute-api:us-east-1:000000000000:other/*"))], False),
        ([statement(StringEquals={"AWS:SourceAccount": "000000000000"})], True),
        ([statement(StringEquals={"AWS:SourceAccount": "111111111111"})], False),
        ([statement(), statement(effect="Deny")], False),
    ],
)
def test_a_functions_policy_names_the_routes_that_may_invoke_it(statements: list[Any], permitted: bool) -> None:
    assert permits({"Statement": statements}, ARN) is permitted
