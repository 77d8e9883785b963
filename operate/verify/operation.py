"""Checks for the operator: the sweep, the queues, the alarms, and whether functions have the stack's settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from operate.requeue import put_through
from operate.verify.lines import FailedError, SkippedError
from operate.verify.run import VerifyRun, until
from operate.verify.runner import Notes, Scene
from operate.versions import RESOURCES

SWEPT_WITHIN = 180.0
"""Greatest age of the last sweep in seconds; there is one each minute."""
QUEUES = {
    "FailedEventsQueueUrl": "good events that could not be taken in; `realtime redrive` puts them through again",
    "UndeliveredEventsQueueUrl": "events that EventBridge could not hand on; `realtime redrive` does it again",
    "StreamFailuresQueueUrl": "what broadcast or announce gave up on; `realtime redrive` puts it through again",
    "DeadlinesDeadLetterQueueUrl": "checks that failed five times: a user may still be shown online",
    "LateDeadLetterQueueUrl": "connections that are behind and could not be closed: their clients may miss messages",
}
MAPPINGS = 7
"""Event source mappings: three of streams, four of queues."""
NAMED = {**RESOURCES, "TOKEN_KEYS": "TokenKeys", "MANAGEMENT_ENDPOINT": "ManagementUrl"}
"""The outputs that the variables of functions name."""


async def _sweep(run: VerifyRun, notes: Notes) -> None:
    advice = (
        "The schedule of template.yaml (EachMinute) invokes the function sweep each minute: is its rule enabled, and "
        "what does `realtime logs sweep` say?"
    )
    async with notes.line("operation.sweep", advice, ["sweep"], within=75) as line:

        async def swept() -> float | None:
            events = await run.logged(run.outputs["SweepLogName"], time.time() - SWEPT_WITHIN, '"swept"')
            moments = (event["timestamp"] / 1000 for event in events if '"swept"' in event["message"])
            return max(moments, default=None)

        if run.parameters.get("LogLevel") not in {None, "", "DEBUG", "INFO"}:
            await _invoked_lately(run)
            line.says = "it was invoked within 3 minutes"
            return
        last = await until(swept, every=2.0)
        line.says = f"{max(0.0, time.time() - last):.0f} s ago"


async def _invoked_lately(run: VerifyRun) -> None:
    """See by its metric that the sweep runs, where LogLevel leaves its line out.

    Raises:
        FailedError: it did not.
        SkippedError: there are no metrics.
    """
    if run.is_emulated:
        raise SkippedError("LogLevel leaves out what it logs, and an emulator has no metrics")
    now = time.time()
    found = await run.call(
        "cloudwatch",
        "get_metric_statistics",
        Namespace="AWS/Lambda",
        MetricName="Invocations",
        Dimensions=[{"Name": "FunctionName", "Value": run.outputs["SweepFunctionName"]}],
        StartTime=now - 2 * SWEPT_WITHIN,  # a metric is up to 3 minutes late
        EndTime=now,
        Period=60,
        Statistics=["Sum"],
    )
    if not sum(point["Sum"] for point in found["Datapoints"]):
        raise FailedError("it was not invoked within 6 minutes")


async def _queues(run: VerifyRun, notes: Notes) -> None:
    for output, what in QUEUES.items():
        key = f"operation.{output.removesuffix('QueueUrl')}"
        async with notes.line(key, "Look at its messages before you delete any.") as line:
            answer = await run.call(
                "sqs",
                "get_queue_attributes",
                QueueUrl=run.outputs[output],
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )
            count = sum(int(value) for value in answer["Attributes"].values())
            line.facts |= {"messages": count}
            if count:
                raise FailedError(f"{count} messages: {what}")
            line.says = "empty"


async def _redrive(run: VerifyRun, notes: Notes) -> None:
    async with notes.line("operation.redrive", "Look at what it names, then: realtime redrive") as line:

        def steps() -> list[str]:
            return [step.text for step in put_through(run.deployment, dry_run=True, rejected=False)]

        found = await asyncio.to_thread(steps)
        line.facts |= {"steps": len(found)}
        if found:
            raise FailedError(f"{len(found)} to be put through: {'; '.join(found[:3])}")
        line.says = "nothing was given up on"


async def _mappings(run: VerifyRun, notes: Notes) -> None:
    advice = (
        "aws lambda update-event-source-mapping --uuid UUID --enabled, with the UUID from list-event-source-mappings"
    )
    async with notes.line("operation.mappings", advice) as line:
        count, problems = 0, []
        for output, name in run.outputs.items():
            if not output.endswith("FunctionName"):
                continue
            listed = await run.call("lambda", "list_event_source_mappings", FunctionName=f"{name}:live")
            for mapping in listed["EventSourceMappings"]:
                count += 1
                result = str(mapping.get("LastProcessingResult", ""))
                if mapping["State"] not in {"Enabled", "Updating"} or result.startswith("PROBLEM"):
                    short = output.removesuffix("FunctionName")
                    problems.append(f"{short}'s is {mapping['State']} {result}".strip())
        if count < MAPPINGS:
            raise FailedError(f"{count} mappings, not {MAPPINGS}", "One was deleted: deploy again.")
        if problems:
            raise FailedError("; ".join(problems))
        line.says = f"{count} mappings"


async def _alarms(run: VerifyRun, notes: Notes) -> None:
    async with notes.line("operation.alarms") as line:
        names = [
            each["PhysicalResourceId"]
            for each in await _resources(run)
            if each["ResourceType"] in {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"}
        ]
        states: dict[str, str] = {}
        described: dict[str, str] = {}
        for start in range(0, len(names), 100):
            page = await run.call("cloudwatch", "describe_alarms", AlarmNames=names[start : start + 100])
            for each in (*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])):
                states[each["AlarmName"]] = each["StateValue"]
                described[each["AlarmName"]] = each.get("AlarmDescription", "")
        judge_alarms(names, states, described)
        waiting = sum(state == "INSUFFICIENT_DATA" for state in states.values())
        line.says = f"{len(names)} alarms" + (f", {waiting} of them have had no data yet" if waiting else "")
        line.facts |= {"states": states}


def judge_alarms(names: list[str], states: Mapping[str, str], described: Mapping[str, str]) -> None:
    """Check that no alarm is raised or missing.

    Raises:
        FailedError: one is raised, or not there.
        SkippedError: there is none.
    """
    if not names:
        raise SkippedError("the stack has no alarm")
    missing = [name for name in names if name not in states]
    if missing:
        raise FailedError(
            f"{', '.join(missing)}: not there any more",
            "Somebody deleted it: deploy again, or detect the stack's drift.",
        )
    raised = [name for name in names if states[name] == "ALARM"]
    if raised:
        raise FailedError(
            f"{', '.join(raised)}: in ALARM", " ".join(described.get(name, "") for name in raised).strip()
        )


async def _versions(run: VerifyRun, notes: Notes) -> None:
    advice = "Deploy again: each deployment publishes a version of what has changed and points the alias live to it."
    async with notes.line("operation.versions", advice) as line:
        functions = {
            output.removesuffix("FunctionName"): name
            for output, name in run.outputs.items()
            if output.endswith("FunctionName")
        }
        configuration = next(
            (
                each["PhysicalResourceId"]
                for each in await _resources(run)
                if each["LogicalResourceId"] == "Configuration"
            ),
            None,
        )
        problems: list[str] = []
        versions: dict[str, str] = {}
        for short, name in functions.items():
            alias = await run.call("lambda", "get_alias", FunctionName=name, Name="live")
            versions[short] = alias["FunctionVersion"]
            newest = await _variables(run, name, "$LATEST")
            live = await _variables(run, name, alias["FunctionVersion"])
            problems += [f"{short}: {problem}" for problem in judge_version(live, newest, run.outputs, configuration)]
        if problems:
            raise FailedError("; ".join(problems))
        line.says = f"{len(functions)} functions, each live with today's settings"
        line.facts |= {"versions": versions}


async def _variables(run: VerifyRun, name: str, qualifier: str) -> dict[str, str]:
    found = await run.call("lambda", "get_function_configuration", FunctionName=name, Qualifier=qualifier)
    variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
    return variables


def judge_version(
    live: Mapping[str, str], newest: Mapping[str, str], outputs: Mapping[str, str], configuration: str | None
) -> list[str]:
    """The faults in the environment that the alias `live` runs with: names of variables, never values."""
    problems = []
    differing = sorted(name for name in live.keys() | newest.keys() if live.get(name) != newest.get(name))
    if differing:
        problems.append(f"live runs with another {', '.join(differing)} than $LATEST")
    for variable, output in NAMED.items():
        if variable in live and output in outputs and live[variable].rstrip("/") != outputs[output].rstrip("/"):
            problems.append(f"live's {variable} is not the stack's {output}")
    number = live.get("CONFIGURATION_VERSION")
    if configuration is not None and number is not None and number != configuration:
        problems.append("live's CONFIGURATION_VERSION is not the stack's Configuration")
    return problems


async def _resources(run: VerifyRun) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start: dict[str, str] = {}
    while True:
        page = await run.call("cloudformation", "list_stack_resources", StackName=run.deployment.stack, **start)
        found += [each for each in page["StackResourceSummaries"] if each.get("PhysicalResourceId")]
        if not page.get("NextToken"):
            return found
        start = {"NextToken": page["NextToken"]}


NEEDS = ("setup.outputs",)
SCENES = [
    Scene("redrive", {"operation.redrive": "Nothing is to be redriven"}, _redrive, NEEDS),
    Scene("mappings", {"operation.mappings": "Every stream and queue is read"}, _mappings, NEEDS),
    Scene("alarms", {"operation.alarms": "Every alarm is quiet"}, _alarms, NEEDS),
    Scene("versions", {"operation.versions": "Every function is live as the stack says"}, _versions, NEEDS),
    Scene(
        "queues",
        {f"operation.{each.removesuffix('QueueUrl')}": f"{each.removesuffix('Url')} is empty" for each in QUEUES},
        _queues,
        NEEDS,
    ),
    Scene("sweep", {"operation.sweep": "The sweep has run"}, _sweep, NEEDS, within=80),
]
