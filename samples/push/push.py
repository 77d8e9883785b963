"""Sends a push to the devices of a user who did not acknowledge a message in time, by SNS mobile push (FCM, APNs).

A rule on the service's bus invokes it with `message_undelivered`. Your backend makes the devices' SNS endpoints
(CreatePlatformEndpoint) and stores them in the table Devices: `user_id` (string), `endpoint_arn` (string).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError

# What the device shows. The message's data is left out, because a push passes Google's or Apple's servers and may be
# shown on a locked screen: the app asks the service for it (`resume`, or `history`).
TITLES = {
    "call_started": "You have a call",
    "call_ended": "You missed a call",
    "call_billing": "A call was billed",
    "favorite_added": "You are somebody's favourite",
    "system_notification": "There is news for you",
}
_GONE = frozenset({"EndpointDisabled", "EndpointDisabledException", "NotFound", "NotFoundException"})


def handler(event: Mapping[str, Any], _context: object) -> dict[str, int]:
    """Push one message to all devices of its user; return how many had each outcome.

    Raises what fails, so that Lambda tries again, and keeps the event in a queue in the end. A device may then get the
    push twice, with the same `message_id`; so may an event come twice.
    """
    detail = event["detail"]
    title = TITLES.get(detail["type"])
    counts: Counter[str] = Counter()
    for endpoint in _devices().endpoints(str(detail["user_id"])) if title else ():
        counts[_push(endpoint, str(detail["user_id"]), push_message(title or "", detail))] += 1
    print(json.dumps({"message_id": detail["id"], "type": detail["type"], **counts}))  # noqa: T201  # Lambda's log
    return dict(counts)


def push_message(title: str, detail: Mapping[str, Any]) -> str:
    """Return SNS's message with a form for each platform.

    docs.aws.amazon.com/sns/latest/dg/sns-send-custom-platform-specific-payloads-mobile-devices.html
    """
    data = {"message_id": detail["id"], "type": detail["type"]}
    apple = json.dumps({"aps": {"alert": {"title": title}, "sound": "default"}, **data})
    google = json.dumps({"fcmV1Message": {"message": {"notification": {"title": title}, "data": data}}})
    return json.dumps({"default": title, "APNS": apple, "APNS_SANDBOX": apple, "GCM": google})


def _push(endpoint: str, user_id: str, message: str) -> str:
    try:
        _sns().publish(TargetArn=endpoint, Message=message, MessageStructure="json")
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
        _devices().forget(user_id, endpoint)  # the app was removed, or has another token by now
        return "gone"
    return "sent"


class Devices:
    """The table of devices."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def endpoints(self, user_id: str) -> list[str]:
        """Return the endpoints of a user's devices."""
        key = boto3.dynamodb.conditions.Key("user_id").eq(user_id)
        return [row["endpoint_arn"] for row in self._table.query(KeyConditionExpression=key)["Items"]]

    def forget(self, user_id: str, endpoint: str) -> None:
        """Remove a device."""
        self._table.delete_item(Key={"user_id": user_id, "endpoint_arn": endpoint})


@cache
def _devices() -> Devices:
    return Devices(boto3.resource("dynamodb").Table(os.environ["DEVICES_TABLE"]))


@cache
def _sns() -> Any:
    return boto3.client("sns")
