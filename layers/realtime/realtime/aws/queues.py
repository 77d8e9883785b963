"""SQS: queues for work and for checks, and dead-letter queues with the reason in an attribute.

SQS refuses a message that has a character that XML forbids (InvalidMessageContents) in its body or in an attribute.
Such characters are escaped here; otherwise the very messages that a dead-letter queue is meant for would be lost.
docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from realtime.aws import retries
from realtime.aws.clients import aws_errors, refusal
from realtime.aws.retries import Passing
from realtime.text import MAX_DEPTH, MAX_INTEGER_BITS, dumps, make_storable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_ATTRIBUTE_LENGTHS = (1000, 100)  # characters; the shorter one is used if the message would be too large otherwise
_SAFE_BYTES = 262_144  # every queue accepts this many, including the attributes
_BATCH_LIMIT = 10  # messages in one SendMessageBatch, whose sizes are added up
_MAX_BYTES = 1_048_576  # a queue on AWS accepts this many by default

_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 does not have


class Queue:
    """One SQS queue that we send to."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, body: dict[str, Any], *, delay_seconds: int = 0, attributes: dict[str, str] | None = None) -> None:
        """Send one message as JSON, to be delivered after a delay of up to 900 s.

        It is sent whatever it contains. The message is ASCII; if that is too large, it is UTF-8 in which unstorable
        characters are escaped; if that is too large for any queue as well, only its beginning is sent.
        """
        try:
            text = json.dumps(body, separators=(",", ":"))
        except (RecursionError, ValueError):  # too deep, or a number with too many digits
            body = _writable(body, MAX_DEPTH)
            text = json.dumps(body, separators=(",", ":"))
        is_small = len(text) < _SAFE_BYTES // 2
        self._send([text] if is_small else [text, dumps(body, allow_nan=True)], delay_seconds, attributes or {})

    def send_text(self, text: str, *, delay_seconds: int = 0, attributes: dict[str, str] | None = None) -> None:
        """Send one message unchanged, except that the characters that SQS refuses are escaped as in JSON."""
        clean = _REFUSED.sub(lambda refused: json.dumps(refused.group())[1:-1], text)
        self._send([clean], delay_seconds, attributes or {})

    def send_all(self, messages: Sequence[tuple[dict[str, Any], Mapping[str, str]]], *, delay_seconds: int = 0) -> None:
        """Send messages of ASCII text that are known to fit, as JSON, with as few calls as possible.

        Each is a body and its attributes. Those that SQS does not take are sent again. Raises Unavailable if some stay
        refused.
        """
        group: list[tuple[str, Mapping[str, str]]] = []
        size = 0
        for body, attributes in messages:
            text = json.dumps(body, separators=(",", ":"))
            given = {name: value for name, value in attributes.items() if value}
            if group and (len(group) == _BATCH_LIMIT or size + _size(text, given) > _SAFE_BYTES):
                self._send_batch(group, delay_seconds)
                group, size = [], 0
            group.append((text, given))
            size += _size(text, given)
        if group:
            self._send_batch(group, delay_seconds)

    def _send_batch(self, messages: Sequence[tuple[str, Mapping[str, str]]], delay_seconds: int) -> None:
        rest: list[Any] = [
            {
                "Id": str(number),
                "MessageBody": text,
                "DelaySeconds": delay_seconds,
                "MessageAttributes": _strings(attributes),
            }
            for number, (text, attributes) in enumerate(messages)
        ]
        with retries.rounds() as tries:
            while rest:
                with aws_errors("sending to a queue"):
                    answer = self._client.send_message_batch(QueueUrl=self._url, Entries=rest)
                failed = {each["Id"]: each for each in answer.get("Failed", ())}
                if failed:
                    worst = min(failed.values(), key=_may_pass)
                    progress = len(failed) < len(rest)
                    if not _may_pass(worst) or not tries.wait(Passing.THROTTLED, progress=progress):
                        raise refusal(worst["Code"], "sending to a queue", worst.get("Message", ""))
                rest = [each for each in rest if each["Id"] in failed]

    def put_off(self, receipt: str, seconds: int) -> None:
        """Hide a received message for some seconds from now, up to 43,200."""
        with aws_errors("putting off a message"):
            self._client.change_message_visibility(QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=seconds)

    def _send(self, texts: Sequence[str], delay_seconds: int, attributes: Mapping[str, str]) -> None:
        text, given = _fitting(texts, attributes)
        with aws_errors("sending to a queue"):
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=text,
                DelaySeconds=delay_seconds,
                MessageAttributes=_strings(given),
            )


def _may_pass(failed: Mapping[str, Any]) -> bool:
    """Return whether SQS may take a message that it did not take."""
    return not failed["SenderFault"] or retries.passing({"Error": {"Code": failed["Code"]}}, 400, None) is not None


def _strings(attributes: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}


def _fitting(texts: Sequence[str], attributes: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the first of the texts that SQS accepts, and the attributes that are not empty, shortened to fit."""
    for limit in (_SAFE_BYTES, _MAX_BYTES):
        for text in texts:
            for length in _ATTRIBUTE_LENGTHS:
                given = {name: make_storable(value, length) for name, value in attributes.items() if value}
                if _size(text, given) <= limit:
                    return text, given
    if _size(texts[-1], {}) <= _MAX_BYTES:
        return texts[-1], {}
    beginning = texts[0][: _SAFE_BYTES // 8]  # an escaped character takes up to 6 bytes
    return json.dumps({"too_large": len(texts[-1]), "beginning": beginning}), given


def _writable(value: Any, depth: int) -> Any:
    """Return a copy in which a note replaces each value that JSON cannot express: too deep or too long."""
    if isinstance(value, dict | list) and depth == 0:
        return "(too deep to be kept)"
    if isinstance(value, dict):
        return {str(key): _writable(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_writable(each, depth - 1) for each in value]
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        return f"(a number of {value.bit_length()} bits)"
    return value


def _size(text: str, attributes: Mapping[str, str]) -> int:
    """Return the bytes that SQS counts: those of the body, and of each attribute's name, type and value."""
    return len(text.encode()) + sum(len(f"{name}String{value}".encode()) for name, value in attributes.items())
