"""A queue for whoever works with botocore's client of SQS."""

from __future__ import annotations

import itertools
from typing import Any


class FakeSqs:
    """A queue: its messages by receipt, and which of them others do not see now."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        self.hidden: set[str] = set()
        self._receipts = itertools.count()

    def __len__(self) -> int:
        return len(self.messages)

    def send(self, body: str) -> None:
        self.messages[f"receipt {next(self._receipts)}"] = body

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
