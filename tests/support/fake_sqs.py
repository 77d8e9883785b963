"""A queue behind a fake of botocore's client of SQS, as strict as AWS about the messages."""

from __future__ import annotations

import itertools
import re
from typing import Any

from botocore.exceptions import ClientError

MAX_BYTES = 1_048_576
# docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html: what is allowed, as in XML 1.0
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class FakeSqs:
    """A queue: its messages by receipt, and those that are hidden now."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self.hidden: set[str] = set()
        self._receipts = itertools.count()

    def __len__(self) -> int:
        return len(self.messages)

    def send(self, body: str) -> None:
        """Put a message into the queue."""
        self.send_message(MessageBody=body or " ")
        if not body:  # which no queue has: to see that it would do no harm
            self.messages[next(reversed(self.messages))] = body

    def send_message(self, **request: Any) -> dict[str, Any]:
        check_message(request)
        receipt = f"receipt {next(self._receipts)}"
        self.messages[receipt] = request["MessageBody"]
        self.attributes[receipt] = {
            name: value["StringValue"] for name, value in request.get("MessageAttributes", {}).items()
        }
        return {"MessageId": receipt}

    def receive_message(self, **request: Any) -> dict[str, Any]:
        visible = [receipt for receipt in self.messages if receipt not in self.hidden][:10]
        self.hidden |= set(visible)
        if not visible:
            return {}
        return {"Messages": [{"ReceiptHandle": each, "Body": self.messages[each]} for each in visible]}

    def delete_message(self, **request: Any) -> None:
        del self.messages[request["ReceiptHandle"]]

    def change_message_visibility(self, **request: Any) -> None:
        assert request["VisibilityTimeout"] == 0
        self.hidden.discard(request["ReceiptHandle"])


def check_message(request: dict[str, Any]) -> None:
    """Refuse a SendMessage that AWS refuses: emulators take characters that XML forbids, and more."""
    body = request["MessageBody"]
    attributes = {name: value["StringValue"] for name, value in request.get("MessageAttributes", {}).items()}
    if not body or any(not value for value in attributes.values()):
        raise _error("InvalidParameterValue", "a body or an attribute is empty")
    if any(_FORBIDDEN.search(text) for text in (body, *attributes, *attributes.values())):
        raise _error("InvalidMessageContents", "Invalid characters found")
    if len(body.encode()) + sum(len(f"{name}String{value}".encode()) for name, value in attributes.items()) > MAX_BYTES:
        raise _error("InvalidParameterValue", f"One or more parameters are invalid: longer than {MAX_BYTES} bytes")
    if not 0 <= request.get("DelaySeconds", 0) <= 900:
        raise _error("InvalidParameterValue", "DelaySeconds must be 0 to 900")


def _error(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "SendMessage")
