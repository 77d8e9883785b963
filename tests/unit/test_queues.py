from __future__ import annotations

from typing import Any

import pytest

from realtime.errors import ConfigurationError, Unavailable
from realtime.queues import Queue
from tests.unit.fakes import aws_error

URL = "https://sqs.us-east-1.amazonaws.com/123456789012/deadlines"


class Sqs:
    """SendMessage."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **message: Any) -> None:
        if self._error:
            raise self._error
        self.sent.append(message)


def test_a_message_is_json_with_its_delay() -> None:
    client = Sqs()
    Queue(client, URL).send({"check": "offline", "left_at": 7}, delay_seconds=10)
    assert client.sent == [
        {
            "QueueUrl": URL,
            "MessageBody": '{"check":"offline","left_at":7}',
            "DelaySeconds": 10,
            "MessageAttributes": {},
        }
    ]


def test_a_character_takes_no_more_room_than_it_must() -> None:
    client = Sqs()
    Queue(client, URL).send({"username": "Жанна"})
    assert client.sent[0]["MessageBody"] == '{"username":"Жанна"}'


def test_attributes_go_as_strings() -> None:
    client = Sqs()
    Queue(client, URL).send({}, attributes={"reason": "no user_id"})
    assert client.sent[0]["MessageAttributes"] == {"reason": {"DataType": "String", "StringValue": "no user_id"}}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AccessDenied", ConfigurationError),
        ("QueueDoesNotExist", ConfigurationError),
        ("AWS.SimpleQueueService.NonExistentQueue", ConfigurationError),
        ("ThrottlingException", Unavailable),
    ],
)
def test_aws_errors_say_what_was_being_done(code: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"sending to a queue: {code}"):
        Queue(Sqs(aws_error(code)), URL).send({})
