"""Moves events of backends that `ingest` did not process back into its queue.

Three queues keep these events whole: those that `ingest` failed on for hours, those that EventBridge could not deliver,
and those that break their schema. `ingest` refuses the last again unless the schema has changed in the meantime.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from operate.redrive import Names, Received, Redrive, Step, receive_all

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from operate.deployment import Deployment


def put_through(deployment: Deployment, *, dry_run: bool, rejected: bool) -> Iterator[Step]:
    """Process again all that a stack gave up on; events that break their schema only if `rejected` is true."""
    clients, outputs = deployment.clients, deployment.outputs
    sqs = clients.sqs()
    kept = ["FailedEventsQueueUrl", "UndeliveredEventsQueueUrl", *(["RejectedEventsQueueUrl"] if rejected else [])]
    urls = [outputs[each] for each in kept]
    *received, failures = receive_all(sqs, *urls, outputs["StreamFailuresQueueUrl"])
    target = outputs["BackendEventsQueueUrl"]
    events = (requeue(sqs, url, each, target, dry_run=dry_run) for url, each in zip(urls, received, strict=True))
    streams = Redrive(
        sqs,
        clients.dynamodb_streams(),
        clients.dynamodb(),
        clients.functions(),
        Names(
            queue_url=outputs["StreamFailuresQueueUrl"],
            events_table=outputs["EventsTableName"],
            users_table=outputs["UsersTableName"],
            announce=outputs["AnnounceFunctionName"],
        ),
    ).run(failures, dry_run=dry_run)
    return chain(*events, streams)


def requeue(
    sqs: SQSClient, source_url: str, received: Iterable[Received], target_url: str, *, dry_run: bool
) -> Iterator[Step]:
    """Move what was received from one queue to another, and yield a line for each; `dry_run` changes nothing.

    A message is sent before it is deleted. If this stops in between, `ingest` still takes the event once, by its id.
    """
    for receipt, body in received:
        name = _name(body)
        if dry_run:
            sqs.change_message_visibility(QueueUrl=source_url, ReceiptHandle=receipt, VisibilityTimeout=0)
            yield Step(f"would take in again: {name}")
        else:
            sqs.send_message(QueueUrl=target_url, MessageBody=body)
            sqs.delete_message(QueueUrl=source_url, ReceiptHandle=receipt)
            yield Step(f"to be taken in again: {name}")


def _name(body: str) -> str:
    try:
        event = json.loads(body)
        return f"{event['detail-type']} {event['id']} of {event['time']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "a message that is no event of EventBridge"
