"""The sample that sends a push for a message that nobody acknowledged: its function and its template."""

from __future__ import annotations

import json
from typing import Any, get_args

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from realtime.contract.values import Acknowledgeable
from samples.push import push
from samsocket.template import parse_document
from tests.cloudformation import ROOT
from tests.support.cloud import REGION
from tests.support.light_moto import empty_moto
from tools.contract.examples import TO_BACKENDS, bus_event

TEMPLATE: dict[str, Any] = parse_document((ROOT / "samples/push/template.yaml").read_text(encoding="utf-8"))
UNDELIVERED = TO_BACKENDS["message_undelivered"]


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the table, and clients of its own."""
    empty_moto()
    properties = TEMPLATE["Resources"]["DevicesTable"]["Properties"]
    boto3.client("dynamodb", REGION).create_table(TableName="devices", **properties)
    monkeypatch.setenv("DEVICES_TABLE", "devices")
    push._devices.cache_clear()
    push._sns.cache_clear()


def device(user_id: str, token: str, *, enabled: bool = True) -> str:
    """Register a device as a backend does; return its endpoint."""
    sns = boto3.client("sns", REGION)
    application = sns.create_platform_application(Name="app", Platform="GCM", Attributes={})["PlatformApplicationArn"]
    attributes = {"Enabled": str(enabled).lower()}
    endpoint: str = sns.create_platform_endpoint(
        PlatformApplicationArn=application, Token=token, Attributes=attributes
    )["EndpointArn"]
    boto3.resource("dynamodb", REGION).Table("devices").put_item(Item={"user_id": user_id, "endpoint_arn": endpoint})
    return endpoint


def undelivered(**changes: Any) -> dict[str, Any]:
    return bus_event("message_undelivered", {**UNDELIVERED, **changes}, "realtime")


def pushed(endpoint: str) -> list[dict[str, Any]]:
    """What a device was sent, for its platform."""
    messages = sns_backends[DEFAULT_ACCOUNT_ID][REGION].platform_endpoints[endpoint].messages
    return [json.loads(json.loads(text)["GCM"])["fcmV1Message"]["message"] for text in messages.values()]


def test_each_device_of_the_user_gets_a_push_without_the_messages_data() -> None:
    mine, too, other = device("789", "a"), device("789", "b"), device("5", "c")
    assert push.handler(undelivered(), None) == {"sent": 2}
    data = {"message_id": UNDELIVERED["id"], "type": "favorite_added"}
    for endpoint in (mine, too):
        assert pushed(endpoint) == [{"notification": {"title": "You are somebody's favourite"}, "data": data}]
    assert pushed(other) == []


def test_a_device_that_is_gone_is_removed() -> None:
    device("789", "a", enabled=False)
    assert push.handler(undelivered(), None) == {"gone": 1}
    assert push.handler(undelivered(), None) == {}


def test_a_type_without_a_title_is_not_pushed() -> None:
    device("789", "a")
    assert push.handler(undelivered(type="user_blocked"), None) == {}


def test_a_user_without_a_device_gets_nothing() -> None:
    assert push.handler(undelivered(user_id="nobody"), None) == {}


def test_titles_are_for_types_that_may_ask_for_an_acknowledgement() -> None:
    assert push.TITLES.keys() <= set(get_args(Acknowledgeable))


def test_the_rule_matches_the_services_event_and_nothing_else() -> None:
    function = TEMPLATE["Resources"]["PushFunction"]["Properties"]
    pattern = function["Events"]["Undelivered"]["Properties"]["Pattern"]
    assert pattern == {"source": ["realtime"], "detail-type": ["message_undelivered"]}
    assert function["Handler"] == "push.handler"
    actions = [each["Action"] for each in function["Policies"][0]["Statement"]]
    assert actions == [["dynamodb:Query", "dynamodb:DeleteItem"], "sns:Publish"]
