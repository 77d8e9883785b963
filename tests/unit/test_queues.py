from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.aws.queues import Queue
from realtime.errors import ConfigurationError, Rejected, Unavailable
from realtime.text import make_storable
from tests.samples import code_points
from tests.support.fake_sqs import FakeSqs
from tests.unit.fakes import Sleeps, as_client, aws_error

TEXT = st.text(st.characters(exclude_categories=()), max_size=10)  # lone surrogates too
URL = "https://sqs.us-east-1.amazonaws.com/123456789012/deadlines"


class Sqs(FakeSqs):
    """SendMessage, as strict as AWS."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self._error = error
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **message: Any) -> dict[str, Any]:
        if self._error:
            raise self._error
        self.sent.append(message)
        return super().send_message(**message)


def sent(body: dict[str, Any], **attributes: str) -> tuple[str, dict[str, str]]:
    """Send a message; return its body and attributes as the queue has them."""
    client = Sqs()
    Queue(as_client(client), URL).send(body, attributes=attributes)
    ((receipt, text),) = client.messages.items()
    return text, client.attributes[receipt]


def test_a_message_is_json_with_its_delay() -> None:
    client = Sqs()
    Queue(as_client(client), URL).send({"check": "offline", "left_at": 7}, delay_seconds=10)
    assert client.sent == [
        {
            "QueueUrl": URL,
            "MessageBody": '{"check":"offline","left_at":7}',
            "DelaySeconds": 10,
            "MessageAttributes": {},
        }
    ]


ODD = ["\ud800", "\udfff", "\ufffe", "\uffff", "\ufdd0", "\x00", "\x0b", "\x7f", "\x85", "\U0001fffe", "Жанна 👋\n\t"]


@pytest.mark.parametrize("odd", ODD, ids=code_points)
def test_a_queue_takes_a_message_with_any_character(odd: str) -> None:
    text, attributes = sent({odd: [odd]}, reason=odd)
    assert text.isascii()
    assert json.loads(text) == {odd: [odd]}
    assert attributes["reason"] == make_storable(odd)


@given(st.dictionaries(TEXT, TEXT | st.floats()), TEXT)
def test_any_body_can_be_sent(body: dict[str, Any], reason: str) -> None:
    text, _ = sent(body, reason=reason)
    assert json.loads(text).keys() == body.keys()


@given(TEXT.filter(bool))
def test_a_text_is_sent_with_only_refused_characters_escaped(text: str) -> None:
    client = Sqs()
    Queue(as_client(client), URL).send_text(json.dumps(text, ensure_ascii=False), attributes={"reason": text})
    (body,) = client.messages.values()
    assert json.loads(body) == text


def test_values_that_are_too_deep_are_left_out() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    text, attributes = sent({"id": "a", "detail": deep, "digits": 10**5000}, reason="too deep")
    assert json.loads(text)["id"] == "a"
    assert json.loads(text)["digits"] == "(a number of 16610 bits)"
    assert attributes == {"reason": "too deep"}


def test_an_attribute_is_cut_and_an_empty_one_left_out() -> None:
    _, attributes = sent({}, reason="x" * 5000, empty="")
    assert attributes == {"reason": "x" * 999 + "…"}


def test_a_large_message_cuts_the_reason_first() -> None:
    body = {"text": "x" * (262_144 - 500)}
    text, attributes = sent(body, reason="y" * 2000)
    assert (json.loads(text), len(attributes["reason"])) == (body, 100)


def test_a_large_message_is_sent_in_utf_8() -> None:
    body = {"text": "ж" * 100_000, "odd": "\ufffe"}
    text, attributes = sent(body, reason="too large")
    assert len(text.encode()) < 201_000
    assert (json.loads(text), attributes) == (body, {"reason": "too large"})


def test_a_body_that_leaves_no_room_is_sent_without_a_reason() -> None:
    client = Sqs()
    text = "x" * 1_048_576
    Queue(as_client(client), URL).send_text(text, attributes={"reason": "too large"})
    assert list(client.messages.values()) == [text]


def test_a_message_that_no_queue_takes_is_sent_as_its_beginning() -> None:
    text, attributes = sent({"text": "ж" * 600_000}, reason="too large")
    told = json.loads(text)
    assert told["beginning"].startswith('{"text":"\\u0436')
    assert told["too_large"] > 600_000
    assert attributes == {"reason": "too large"}


def test_attributes_go_as_strings() -> None:
    client = Sqs()
    Queue(as_client(client), URL).send({}, attributes={"reason": "no user_id"})
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
def test_an_error_of_aws_names_the_operation(code: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"sending to a queue: {code}"):
        Queue(as_client(Sqs(aws_error(code))), URL).send({})


class BatchSqs:
    """SendMessageBatch, which does not take the first message of a call so many times, for this reason."""

    def __init__(self, failed: int = 0, code: str = "InternalError", *, sender_fault: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.delays: set[int] = set()
        self._failed = failed
        self._reason = {"Code": code, "SenderFault": sender_fault, "Message": "no"}

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        assert request["QueueUrl"] == URL
        assert len({each["Id"] for each in request["Entries"]}) == len(request["Entries"]) <= 10
        self.calls.append([each["MessageBody"] for each in request["Entries"]])
        self.delays.update(each.get("DelaySeconds", 0) for each in request["Entries"])
        self._failed -= 1
        return {"Failed": [{"Id": request["Entries"][0]["Id"], **self._reason}]} if self._failed >= 0 else {}


def test_messages_are_sent_with_as_few_calls_as_sqs_allows() -> None:
    client = BatchSqs()
    Queue(as_client(client), URL).send_all([({"n": number}, {}) for number in range(25)])
    assert [len(call) for call in client.calls] == [10, 10, 5]
    assert [json.loads(text)["n"] for call in client.calls for text in call] == list(range(25))


def test_large_messages_are_sent_in_calls_of_their_own() -> None:
    client = BatchSqs()
    Queue(as_client(client), URL).send_all([({"text": "x" * 200_000}, {})] * 3)
    assert [len(call) for call in client.calls] == [1, 1, 1]


def test_no_message_is_no_call() -> None:
    client = BatchSqs()
    Queue(as_client(client), URL).send_all([])
    assert client.calls == []


def test_messages_may_all_be_delayed() -> None:
    client = BatchSqs()
    Queue(as_client(client), URL).send_all([({}, {})] * 11, delay_seconds=10)
    assert client.delays == {10}


@pytest.mark.parametrize(
    ("code", "sender_fault"), [("InternalError", False), ("KMS.ThrottlingException", True), ("RequestThrottled", True)]
)
def test_a_message_that_sqs_does_not_take_is_sent_again(sleeps: Sleeps, code: str, sender_fault: bool) -> None:
    client = BatchSqs(2, code, sender_fault=sender_fault)
    Queue(as_client(client), URL).send_all([({"n": number}, {}) for number in range(3)])
    assert client.calls == [['{"n":0}', '{"n":1}', '{"n":2}'], ['{"n":0}'], ['{"n":0}']]
    assert len(sleeps) == 2


def test_a_message_that_sqs_does_not_take_for_long_is_an_error(sleeps: Sleeps) -> None:
    with pytest.raises(Unavailable, match=r"^sending to a queue: InternalError$"):
        Queue(as_client(BatchSqs(failed=100)), URL).send_all([({}, {})])
    assert len(sleeps) > 5


@pytest.mark.parametrize(
    ("code", "error"), [("InvalidMessageContents", Rejected), ("KMS.DisabledException", ConfigurationError)]
)
def test_a_message_that_sqs_never_takes_is_not_sent_again(code: str, error: type[Exception]) -> None:
    client = BatchSqs(1, code, sender_fault=True)
    with pytest.raises(error, match=f"^sending to a queue: {code}"):
        Queue(as_client(client), URL).send_all([({}, {})])
    assert len(client.calls) == 1
