"""Queues: how long they hide and keep messages, and who may send to them."""

from __future__ import annotations

from collections.abc import Iterator

from aws_rules.rules.mappings import function_of, source
from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import Resource, Stack, references

_SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/"
_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/"
_FOUR_DAYS = 345_600


def dead_letter_queue(stack: Stack, queue: Resource) -> Resource | None:
    """The queue that gets a queue's messages after too many receives."""
    return stack.referred(queue.properties.get("RedrivePolicy", {}), "AWS::SQS::Queue")


@rule("hidden-while-worked-on", _LAMBDA + "services-sqs-configure.html")
def hidden_while_worked_on(case: Case) -> Iterator[Broken]:
    """A queue hides a message for six times as long as its function may run, for Lambda's own retries of throttles."""
    for mapping in case.stack.of_type("AWS::Lambda::EventSourceMapping"):
        queue, function = source(case.stack, mapping), function_of(case.stack, mapping)
        if queue is None or function is None or queue.type != "AWS::SQS::Queue":
            continue
        hidden = int(queue.properties.get("VisibilityTimeout", 30))
        window = int(mapping.properties.get("MaximumBatchingWindowInSeconds", 0))
        needed = 6 * int(function.properties.get("Timeout", 3)) + window
        if hidden < needed:
            yield Broken(
                queue.logical_id, "VisibilityTimeout", f"is {hidden} s; {function.logical_id} asks for {needed} s"
            )


@rule("tried-five-times", _LAMBDA + "services-sqs-configure.html")
def tried_five_times(case: Case) -> Iterator[Broken]:
    """A message goes to a dead-letter queue after at least five receives, because throttles count as receives."""
    for queue in case.stack.of_type("AWS::SQS::Queue"):
        if "RedrivePolicy" in queue.properties and int(queue.properties["RedrivePolicy"]["maxReceiveCount"]) < 5:
            yield Broken(queue.logical_id, "RedrivePolicy.maxReceiveCount", "is less than 5")


@rule("kept-longer-when-dead", _SQS + "setting-up-dead-letter-queue-retention.html")
def kept_longer_when_dead(case: Case) -> Iterator[Broken]:
    """A dead-letter queue keeps messages longer than their first queue, because their age counts from there."""
    for queue in case.stack.of_type("AWS::SQS::Queue"):
        dead = dead_letter_queue(case.stack, queue)
        if dead is None:
            continue
        ours, theirs = (int(each.properties.get("MessageRetentionPeriod", _FOUR_DAYS)) for each in (queue, dead))
        if theirs <= ours:
            yield Broken(dead.logical_id, "MessageRetentionPeriod", f"is {theirs} s; {queue.logical_id}'s is {ours} s")


@rule("tries-end-before-the-message", _SQS + "sqs-dead-letter-queues.html")
def tries_end_before_the_message(case: Case) -> Iterator[Broken]:
    """The tries of a message are over before its queue forgets it, or it would never reach the dead-letter queue."""
    for queue in case.stack.of_type("AWS::SQS::Queue"):
        if "RedrivePolicy" not in queue.properties:
            continue
        tries = int(queue.properties["RedrivePolicy"]["maxReceiveCount"])
        hidden = int(queue.properties.get("VisibilityTimeout", 30))
        kept = int(queue.properties.get("MessageRetentionPeriod", _FOUR_DAYS))
        if tries * hidden >= kept:
            yield Broken(queue.logical_id, "RedrivePolicy", f"{tries} tries of {hidden} s are longer than {kept} s")


@rule("queues-are-encrypted", _SQS + "sqs-configure-sqs-sse-queue.html")
def queues_are_encrypted(case: Case) -> Iterator[Broken]:
    """Every queue encrypts what it holds, and says so."""
    for queue in case.stack.of_type("AWS::SQS::Queue"):
        if queue.properties.get("SqsManagedSseEnabled") is not True and "KmsMasterKeyId" not in queue.properties:
            yield Broken(queue.logical_id, "SqsManagedSseEnabled", "is not set")


@rule("queues-demand-tls", _SQS + "sqs-security-best-practices.html")
def queues_demand_tls(case: Case) -> Iterator[Broken]:
    """A policy of every queue denies all that comes without TLS; a queue has one policy."""
    if case.chosen.emulated:
        return  # an emulator speaks no TLS
    policies: dict[str, list[Resource]] = {queue.logical_id: [] for queue in case.stack.of_type("AWS::SQS::Queue")}
    for policy in case.stack.of_type("AWS::SQS::QueuePolicy"):
        for name, _ in references(policy.properties["Queues"]):
            policies[name].append(policy)
    for name, found in policies.items():
        statements = [each for policy in found for each in policy.properties["PolicyDocument"]["Statement"]]
        if len(found) != 1:
            yield Broken(name, "Policy", f"there are {len(found)}")
        elif not any(
            each["Effect"] == "Deny" and each.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
            for each in statements
        ):
            yield Broken(name, "Policy", "lets in what comes without TLS")
