"""Alarms: they watch existing metrics, and everything that should never happen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from aws_rules.rules.mappings import function_of, source
from aws_rules.rules.queues import dead_letter_queue
from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import Resource, Stack, references

_CLOUDWATCH = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/"
# The metrics that AWS emits, each with the dimensions it has and the kind of resource that gives them their value.
_METRICS: Final[dict[tuple[str, str], dict[str, tuple[str, str | None]]]] = {
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): {"QueueName": ("AWS::SQS::Queue", "QueueName")},
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): {"QueueName": ("AWS::SQS::Queue", "QueueName")},
    ("AWS/Lambda", "IteratorAge"): {"FunctionName": ("AWS::Lambda::Function", None)},
    ("AWS/Lambda", "Errors"): {"FunctionName": ("AWS::Lambda::Function", None)},
    ("AWS/Lambda", "Invocations"): {"FunctionName": ("AWS::Lambda::Function", None)},
    ("AWS/Lambda", "Throttles"): {"FunctionName": ("AWS::Lambda::Function", None)},
    ("AWS/ApiGateway", "IntegrationError"): {"ApiId": ("AWS::ApiGatewayV2::Api", None)},
    ("AWS/ApiGateway", "ExecutionError"): {"ApiId": ("AWS::ApiGatewayV2::Api", None)},
    ("AWS/ApiGateway", "ClientError"): {"ApiId": ("AWS::ApiGatewayV2::Api", None)},
}
_FUNCTION: Final = "AWS::Lambda::Function"
# Lambda also emits it as the sum of all functions of the account in the Region, which share its concurrency. Of other
# metrics that sum would say nothing about this stack.
_OF_ACCOUNT: Final = frozenset({("AWS/Lambda", "Throttles")})


def _metric(alarm: Resource) -> tuple[str, str]:
    return _name(alarm.properties)


def _name(metric: Mapping[str, Any]) -> tuple[str, str]:
    return str(metric.get("Namespace")), str(metric.get("MetricName"))


def metrics(alarm: Resource) -> list[Mapping[str, Any]]:
    """The metrics that an alarm looks at: one, or those that an expression is made of."""
    if "Metrics" not in alarm.properties:
        return [alarm.properties]
    return [each["MetricStat"]["Metric"] for each in alarm.properties["Metrics"] if "MetricStat" in each]


def _counted(stack: Stack) -> set[tuple[str, str]]:
    """The metrics, without dimensions, that the stack's own filters make of its logs."""
    return {
        (str(each.get("MetricNamespace")), str(each.get("MetricName")))
        for found in stack.of_type("AWS::Logs::MetricFilter")
        for each in found.properties["MetricTransformations"]
    }


def _namespaces_of_functions(stack: Stack) -> set[str]:
    """The namespaces in which functions print metrics by Powertools; which names they have is not in the template.

    It is empty where the parameter Metrics is off.
    """
    named = "POWERTOOLS_METRICS_NAMESPACE"
    found = (each.properties.get("Environment", {}).get("Variables", {}) for each in stack.of_type(_FUNCTION))
    return {str(variables[named]) for variables in found if named in variables}


def _is_own(stack: Stack, metric: Mapping[str, Any]) -> bool:
    """Return whether a filter of a log counts the metric, or the functions print it, always with their service.

    Where the functions print none, an alarm on one is silent, as the parameter Metrics says.
    """
    has_service = {"Name": "service", "Value": "realtime"} in metric.get("Dimensions", [])
    printed = _namespaces_of_functions(stack)
    return _name(metric) in _counted(stack) or (has_service and (_name(metric)[0] in printed or printed == {""}))


def watched(stack: Stack, metric: str) -> set[str]:
    """The resources that an alarm on this metric looks at."""
    alarms = (alarm for alarm in stack.of_type("AWS::CloudWatch::Alarm") if _metric(alarm)[1] == metric)
    return {name for alarm in alarms for name, _ in references(alarm.properties.get("Dimensions"))}


def stream_readers(stack: Stack) -> set[str]:
    """The functions that read a stream."""
    mappings = stack.of_type("AWS::Lambda::EventSourceMapping")
    found = ((source(stack, each), function_of(stack, each)) for each in mappings)
    return {
        function.logical_id for table, function in found if function and table and table.type == "AWS::DynamoDB::Table"
    }


@rule("an-alarm-looks-at-a-metric-that-is-there", _CLOUDWATCH + "monitoring/aws-services-cloudwatch-metrics.html")
def an_alarm_looks_at_a_metric_that_is_there(case: Case) -> Iterator[Broken]:
    """A resource of this stack emits the alarm's metric, with exactly these dimensions; if not, it never rings."""
    readers = stream_readers(case.stack)
    alarms = case.stack.of_type("AWS::CloudWatch::Alarm")
    for alarm, metric in ((each, one) for each in alarms for one in metrics(each)):
        name = _name(metric)
        if _is_own(case.stack, metric) or (name in _OF_ACCOUNT and "Dimensions" not in metric):
            continue
        known = _METRICS.get(name)
        if known is None:
            yield Broken(alarm.logical_id, "MetricName", f"{'/'.join(name)} is not among those known to be emitted")
            continue
        dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
        if dimensions.keys() != known.keys():
            yield Broken(
                alarm.logical_id, "Dimensions", f"are {sorted(dimensions)}, and the metric has {sorted(known)}"
            )
            continue
        for dimension, (kind, attribute) in known.items():
            refers = list(references(dimensions[dimension]))
            if len(refers) != 1 or refers[0][1] != attribute or case.stack.resources[refers[0][0]].type != kind:
                yield Broken(alarm.logical_id, f"Dimensions.{dimension}", f"is not the {dimension} of a resource")
            elif name[1] == "IteratorAge" and refers[0][0] not in readers:
                yield Broken(alarm.logical_id, "Dimensions", f"{refers[0][0]} reads no stream, so has no IteratorAge")


@rule("an-alarm-can-be-evaluated", _CLOUDWATCH + "APIReference/API_PutMetricAlarm.html")
def an_alarm_can_be_evaluated(case: Case) -> Iterator[Broken]:
    """An alarm looks at a day at most, at no more data points than periods, in periods that CloudWatch knows.

    It looks at ten metrics at most.
    """
    for alarm in case.stack.of_type("AWS::CloudWatch::Alarm"):
        several = [each["MetricStat"] for each in alarm.properties.get("Metrics", []) if "MetricStat" in each]
        if len(several) > 10:
            yield Broken(alarm.logical_id, "Metrics", "are more than ten")
        period = max(int(each["Period"]) for each in several or [alarm.properties])
        periods = int(alarm.properties["EvaluationPeriods"])
        if period not in (10, 20, 30) and period % 60:
            yield Broken(alarm.logical_id, "Period", f"{period} s is no period of CloudWatch's")
        if period * periods > 86_400:
            yield Broken(alarm.logical_id, "EvaluationPeriods", "look at more than a day")
        if int(alarm.properties.get("DatapointsToAlarm", 1)) > periods:
            yield Broken(alarm.logical_id, "DatapointsToAlarm", "are more than there are periods")
        if len(alarm.properties.get("AlarmActions", [])) > 5:
            yield Broken(alarm.logical_id, "AlarmActions", "are more than 5")


@rule(
    "a-deployment-is-undone-by-alarms",
    "https://docs.aws.amazon.com/codedeploy/latest/userguide/deployment-groups-configure-advanced-options.html",
)
def a_deployment_is_undone_by_alarms(case: Case) -> Iterator[Broken]:
    """Where CodeDeploy moves a function's traffic, alarms on the function's errors take it back."""
    stack = case.stack
    groups = {each.logical_id: each for each in stack.of_type("AWS::CodeDeploy::DeploymentGroup")}
    for alias in stack.of_type("AWS::Lambda::Alias"):
        policy = alias.attributes.get("UpdatePolicy", {}).get("CodeDeployLambdaAliasUpdate")
        if not policy:
            continue
        group = groups[policy["DeploymentGroupName"]["Ref"]]
        alarms = [name for name, _ in references(group.properties.get("AlarmConfiguration"))]
        seen = {name for each in alarms for one in metrics(stack.resources[each]) for name, _ in references(one)}
        if not {name for name, _ in references(alias.properties["FunctionName"])} <= seen:
            yield Broken(group.logical_id, "AlarmConfiguration", "has no alarm on the function's errors")
        if not group.properties["AutoRollbackConfiguration"]["Enabled"]:
            yield Broken(group.logical_id, "AutoRollbackConfiguration", "is off")


@rule("failures-are-watched", _CLOUDWATCH + "monitoring/AlarmThatSendsEmail.html")
def failures_are_watched(case: Case) -> Iterator[Broken]:
    """Every failure queue raises an alarm when something is in it."""
    stack = case.stack
    ends = {dead.logical_id for queue in stack.of_type("AWS::SQS::Queue") if (dead := dead_letter_queue(stack, queue))}
    for resource in stack.resources.values():
        failure = resource.properties.get("DestinationConfig", {}).get("OnFailure")
        ends |= {name for name, _ in references(failure)}
        if resource.type == "AWS::Events::Rule":
            ends |= {
                name
                for target in resource.properties.get("Targets", [])
                for name, _ in references(target.get("DeadLetterConfig"))
            }
    for queue in sorted(ends - watched(stack, "ApproximateNumberOfMessagesVisible")):
        yield Broken(queue, "QueueName", "takes what failed, and no alarm looks at it")


@rule("late-streams-are-watched", "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html")
def late_streams_are_watched(case: Case) -> Iterator[Broken]:
    """Every function that reads a stream has an alarm on its IteratorAge that rings though most minutes have no datum.

    Lambda emits the age once a batch, when it hands the batch over: while one runs for minutes there is nothing to see.
    """
    stack = case.stack
    for reader in sorted(stream_readers(stack) - watched(stack, "IteratorAge")):
        yield Broken(reader, "Events", "reads a stream, and no alarm looks at its IteratorAge")
    for alarm in stack.of_type("AWS::CloudWatch::Alarm"):
        if _metric(alarm)[1] != "IteratorAge":
            continue
        function = stack.referred(alarm.properties["Dimensions"], "AWS::Lambda::Function")
        seen = int(alarm.properties["Period"]) * int(alarm.properties["EvaluationPeriods"])
        needed = int(alarm.properties.get("DatapointsToAlarm", alarm.properties["EvaluationPeriods"]))
        if function and (
            seen < int(function.properties.get("Timeout", 3)) or needed >= int(alarm.properties["EvaluationPeriods"])
        ):
            yield Broken(
                alarm.logical_id, "EvaluationPeriods", f"{seen} s with {needed} data points can pass without a datum"
            )
