"""SQS: the queue of what must be looked at later, and the one of events that were refused."""

from __future__ import annotations

import json
from typing import Any

from realtime.aws import aws_errors


class Queue:
    """One SQS queue that we send to."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, body: dict[str, Any], *, delay_seconds: int = 0, attributes: dict[str, str] | None = None) -> None:
        """Send one message as JSON, to be delivered after a delay of up to 900 s."""
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        self.send_text(text, delay_seconds=delay_seconds, attributes=attributes)

    def send_text(self, text: str, *, delay_seconds: int = 0, attributes: dict[str, str] | None = None) -> None:
        """Send one message as it is, to be delivered after a delay of up to 900 s."""
        with aws_errors("sending to a queue"):
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=text,
                DelaySeconds=delay_seconds,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()
                },
            )

    def put_off(self, receipt: str, seconds: int) -> None:
        """Hide a message that was received for so long from now on, up to 43,200 s."""
        with aws_errors("putting off a message"):
            self._client.change_message_visibility(QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=seconds)
