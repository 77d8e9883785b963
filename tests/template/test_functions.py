"""The functions: their runtime, their environment, their triggers, and the results of their failures."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from ingest import LONGEST_BACK_OFF_SECONDS
from realtime import settings
from realtime.everyone import CLAIM_MS
from realtime.posting.uses import FAREWELL, LATE
from tests.cloudformation import ROOT, resources, template

FUNCTIONS = resources("AWS::Serverless::Function")
GLOBALS = template()["Globals"]["Function"]
STREAMS = [
    ("AnnounceFunction", "UsersTable", "UserChanges"),
    ("BroadcastFunction", "EventsTable", "NarrowEvents"),
    ("BroadcastWideFunction", "EventsTable", "WideEvents"),
]


def depends_on(value: Any) -> set[str]:
    """The parameters and resources that a value names, by itself or by a condition."""
    text = json.dumps(value)
    conditions = {name for name in template()["Conditions"] if f'"{name}"' in text}
    known = template()["Parameters"].keys() | template()["Resources"].keys()
    named = {name for name in known if re.search(rf'"Ref": "{name}"|\$\{{{name}[}}.]|"Fn::GetAtt": \["{name}"', text)}
    return named.union(*(depends_on(template()["Conditions"][name]) for name in conditions))


def short_name(logical_id: str) -> str:
    """A function's handler: two functions broadcast."""
    return logical_id.removesuffix("Function").removesuffix("Wide").lower()


def test_every_handler_is_deployed_and_nothing_else() -> None:
    assert {short_name(name) for name in FUNCTIONS} == {path.stem for path in (ROOT / "functions").glob("*.py")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_the_handler_of_its_name(name: str) -> None:
    assert FUNCTIONS[name]["Handler"] == f"{short_name(name)}.handler"
    assert FUNCTIONS[name]["CodeUri"] == "functions/"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_functions_environment_has_all_that_its_settings_need(name: str) -> None:
    kind = getattr(settings, short_name(name).capitalize() + "Settings")
    told = FUNCTIONS[name]["Environment"]["Variables"].keys()
    assert told == {field.name.upper() for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_starts_from_a_snapshot_if_the_parameter_asks_for_it(name: str) -> None:
    assert GLOBALS["AutoPublishAlias"] == "live"
    condition = "SnapsForClients" if name in ("ConnectFunction", "DefaultFunction") else "SnapsAll"
    chosen = FUNCTIONS[name].get("SnapStart", GLOBALS["SnapStart"])
    assert chosen == {"ApplyOn": {"Fn::If": [condition, "PublishedVersions", "None"]}}
    assert template()["Conditions"]["SnapsAll"] == {"Fn::Equals": [{"Ref": "SnapStart"}, "all"]}
    assert template()["Conditions"]["SnapsForClients"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "SnapStart"}, "none"]}]}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_configuration_names_all_that_a_functions_environment_depends_on(name: str) -> None:
    text, more = template()["Resources"]["Configuration"]["Properties"]["Content"]["Fn::Sub"]
    named = set(re.findall(r"\$\{(\w+)\}", text)) | depends_on(more)
    needed = depends_on([FUNCTIONS[name]["Environment"], FUNCTIONS[name].get("SnapStart"), GLOBALS["LoggingConfig"]])
    assert needed
    assert needed <= named


@pytest.mark.parametrize(("name", "table", "event"), STREAMS)
def test_batches_run_in_parallel_only_if_the_order_of_single_items_suffices(name: str, table: str, event: str) -> None:
    keys = resources("AWS::DynamoDB::Table")[table]["KeySchema"]
    factor = FUNCTIONS[name]["Events"][event]["Properties"].get("ParallelizationFactor", 1)
    assert (factor > 1) == (len(keys) == 1)


def test_ingest_hears_all_events_but_our_own() -> None:
    (rule,) = resources("AWS::Events::Rule").values()
    (target,) = rule["Targets"]
    assert rule["EventBusName"] == {"Ref": "Bus"}
    assert rule["EventPattern"] == {"source": [{"anything-but": "realtime"}]}
    assert target["Arn"] == {"Fn::GetAtt": ["BackendEventsQueue", "Arn"]}
    mapping = FUNCTIONS["IngestFunction"]["Events"]["BackendEvents"]
    assert mapping["Properties"]["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "IngestConcurrency"}}


@pytest.mark.parametrize(
    ("name", "event", "instances"),
    [("FarewellFunction", "Farewells", FAREWELL.instances), ("LateFunction", "Stragglers", LATE.instances)],
)
def test_as_many_instances_post_without_a_claim_as_have_an_allowance(name: str, event: str, instances: int) -> None:
    mapping = FUNCTIONS[name]["Events"][event]["Properties"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": instances}


def test_an_event_that_cannot_be_put_into_the_queue_is_kept() -> None:
    (rule,) = resources("AWS::Events::Rule").values()
    assert rule["Targets"][0]["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}}


def test_an_event_that_ingest_fails_on_is_tried_for_hours_and_kept() -> None:
    redrive = resources("AWS::SQS::Queue")["BackendEventsQueue"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["FailedEventsQueue", "Arn"]}
    hours = redrive["maxReceiveCount"] * LONGEST_BACK_OFF_SECONDS / 2 / 3600  # full jitter: half of it, as a rule
    assert 3 <= hours <= 24


def test_whoever_makes_a_view_still_has_its_claim_when_its_time_is_over() -> None:
    assert FUNCTIONS["DefaultFunction"].get("Timeout", GLOBALS["Timeout"]) * 1000 <= CLAIM_MS


def test_a_sweep_ends_before_the_next_begins() -> None:
    sweep = FUNCTIONS["SweepFunction"]
    assert sweep["Events"]["EachMinute"]["Type"] == "Schedule"
    assert sweep["Events"]["EachMinute"]["Properties"]["Schedule"] == "rate(1 minute)"
    assert sweep["Timeout"] < 60
    assert sweep["EventInvokeConfig"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}


@pytest.mark.parametrize("shift", template()["Parameters"]["DeploymentPreference"]["AllowedValues"])
def test_codedeploy_moves_the_traffic_of_all_functions_if_the_parameter_says_so(shift: str) -> None:
    preference = GLOBALS["DeploymentPreference"]
    enabled = {"Fn::FindInMap": ["TrafficShifts", {"Ref": "DeploymentPreference"}, "ByCodeDeploy"]}
    assert (preference["Enabled"], preference["Type"]) == (enabled, {"Ref": "DeploymentPreference"})
    by_codedeploy = template()["Mappings"]["TrafficShifts"][shift]["ByCodeDeploy"]
    assert by_codedeploy == ("false" if shift == "none" else "true")
    assert not any("DeploymentPreference" in function for function in FUNCTIONS.values())


def test_the_alarms_that_undo_a_deployment_see_the_faults_of_every_function() -> None:
    alarms = resources("AWS::CloudWatch::Alarm")
    condition, given, _ = GLOBALS["DeploymentPreference"]["Alarms"]["Fn::If"]
    assert condition == "ShiftsTraffic"
    chosen = [alarms[each["Ref"]] for each in given]
    watched = [each["MetricStat"]["Metric"] for alarm in chosen for each in alarm["Metrics"] if "MetricStat" in each]
    crashes = [each["Dimensions"][0]["Value"]["Ref"] for each in watched if each["MetricName"] == "Errors"]
    assert sorted(crashes) == sorted(FUNCTIONS)
    assert {each["MetricName"] for each in watched} == {"Errors", "FailedRequests", "PutOffEvents"}
    for alarm in chosen:  # sooner than the shortest canary ends
        assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (2, 3)
