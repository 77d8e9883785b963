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
        with aws_errors("sending to a queue"):
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=json.dumps(body, separators=(",", ":"), ensure_ascii=False),
                DelaySeconds=delay_seconds,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()
                },
            )
