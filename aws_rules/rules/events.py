"""EventBridge: the events that a rule may deliver, and their targets."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import Stack, as_list

_DOCS = "https://docs.aws.amazon.com/eventbridge/latest/userguide/"


def may_send(stack: Stack, queue: str, rule_arn: str) -> bool:
    """Whether a queue's policy lets EventBridge put messages into it for a rule."""
    for policy in stack.of_type("AWS::SQS::QueuePolicy"):
        for statement in stack.concrete(policy.properties["PolicyDocument"])["Statement"]:
            allowed = statement.get("Condition", {}).get("ArnEquals", {}).get("aws:SourceArn", rule_arn)
            if (
                statement["Effect"] == "Allow"
                and "events.amazonaws.com" in as_list(statement["Principal"].get("Service"))
                and "sqs:SendMessage" in as_list(statement["Action"])
                and queue in as_list(statement["Resource"])
                and any(fnmatchcase(rule_arn, pattern) for pattern in as_list(allowed))
            ):
                return True
    return False


def _targets(stack: Stack) -> Iterator[tuple[str, Any, str]]:
    for each in stack.of_type("AWS::Events::Rule"):
        arn = stack.concrete({"Fn::GetAtt": [each.logical_id, "Arn"]})
        for target in stack.concrete(each.properties.get("Targets", [])):
            yield each.logical_id, target, arn


@rule("a-rule-may-reach-its-queues", _DOCS + "eb-use-resource-based.html")
def a_rule_may_reach_its_queues(case: Case) -> Iterator[Broken]:
    """Each queue that a rule sends events to, undelivered ones included, lets EventBridge do so for that rule."""
    for name, target, arn in _targets(case.stack):
        dead = target.get("DeadLetterConfig", {}).get("Arn")
        for queue in (target["Arn"], dead):
            if queue and ":sqs:" in queue and not may_send(case.stack, queue, arn):
                yield Broken(name, "Targets", f"no policy lets this rule send to {queue}")


@rule("a-rule-may-call-its-functions", _DOCS + "eb-use-resource-based.html")
def a_rule_may_call_its_functions(case: Case) -> Iterator[Broken]:
    """Each function that a rule or schedule calls lets EventBridge do so for that rule."""
    stack = case.stack
    permissions = [stack.concrete(each.properties) for each in stack.of_type("AWS::Lambda::Permission")]
    for name, target, arn in _targets(stack):
        allowed = (
            permission["Principal"] == "events.amazonaws.com"
            and permission["FunctionName"] == target["Arn"]
            and fnmatchcase(arn, permission.get("SourceArn", "*"))
            for permission in permissions
        )
        if ":lambda:" in target["Arn"] and not any(allowed):
            yield Broken(name, "Targets", f"no permission lets this rule call {target['Arn']}")


@rule("undelivered-events-are-kept", _DOCS + "eb-rule-event-delivery.html")
def undelivered_events_are_kept(case: Case) -> Iterator[Broken]:
    """A rule on a bus of ours has a dead-letter queue for each target: EventBridge drops what it cannot deliver."""
    for each in case.stack.of_type("AWS::Events::Rule"):
        for target in each.properties.get("Targets", []):
            if "EventBusName" in each.properties and "DeadLetterConfig" not in target:
                yield Broken(each.logical_id, "Targets", f"{target['Id']} has no DeadLetterConfig")


@rule("five-targets-a-rule", _DOCS + "eb-quota.html")
def five_targets_a_rule(case: Case) -> Iterator[Broken]:
    """A rule has at most five targets."""
    for each in case.stack.of_type("AWS::Events::Rule"):
        if len(each.properties.get("Targets", [])) > 5:
            yield Broken(each.logical_id, "Targets", f"are {len(each.properties['Targets'])}")


@rule(
    "publishers-speak-for-themselves", "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html"
)
def publishers_speak_for_themselves(case: Case) -> Iterator[Broken]:
    """Other accounts may put events on the bus, but none in the service's own name, and they may do nothing else."""
    for policy in case.stack.of_type("AWS::Events::EventBusPolicy"):
        statement = policy.properties["Statement"]
        if statement.get("Condition") != {"StringNotEquals": {"events:source": "realtime"}}:
            yield Broken(policy.logical_id, "Condition", "lets others speak in the service's name")
        if statement["Action"] != "events:PutEvents" or statement["Principal"] == "*":
            yield Broken(policy.logical_id, "Statement", "allows more than events of these accounts")
