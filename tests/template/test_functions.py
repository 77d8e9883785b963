"""The functions: where they run, what they are told, what triggers them, what happens when they fail."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from realtime import settings
from tests.cloudformation import ROOT, resources, template

FUNCTIONS = resources("AWS::Serverless::Function")
GLOBALS = template()["Globals"]["Function"]
STREAMS = [
    ("AnnounceFunction", "UsersTable", "UserChanges"),
    ("BroadcastFunction", "EventsTable", "NarrowEvents"),
    ("BroadcastFunction", "EventsTable", "WideEvents"),
]
DESCRIPTION_CHARACTERS = 256


def logical_name(handler: Path) -> str:
    return f"{handler.stem.capitalize()}Function"


def parameters_in(value: Any) -> set[str]:
    """The template's parameters that a value depends on, by itself or by a condition."""
    text = json.dumps(value)
    conditions = {name for name in template()["Conditions"] if f'"{name}"' in text}
    direct = {name for name in template()["Parameters"] if f'"Ref": "{name}"' in text or f"${{{name}}}" in text}
    return direct.union(*(parameters_in(template()["Conditions"][name]) for name in conditions))


def test_every_handler_is_deployed_and_nothing_else() -> None:
    assert FUNCTIONS.keys() == {logical_name(path) for path in (ROOT / "functions").glob("*.py")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_the_handler_of_its_name(name: str) -> None:
    short = name.removesuffix("Function").lower()
    assert FUNCTIONS[name]["Handler"] == f"{short}.handler"
    assert FUNCTIONS[name]["CodeUri"] == "functions/"
    assert FUNCTIONS[name]["FunctionName"] == {"Fn::Sub": f"${{AWS::StackName}}-{short}"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_told_all_that_its_settings_ask_for(name: str) -> None:
    kind = getattr(settings, name.removesuffix("Function") + "Settings")
    told = FUNCTIONS[name]["Environment"]["Variables"].keys()
    assert told == {field.name.upper() for field in dataclasses.fields(kind)}


def test_all_functions_log_for_powertools() -> None:
    assert GLOBALS["Environment"]["Variables"] == {
        "POWERTOOLS_SERVICE_NAME": "realtime",
        "POWERTOOLS_LOG_LEVEL": {"Ref": "LogLevel"},
    }


def test_functions_run_on_arm_with_python_3_13_and_the_layer() -> None:
    assert GLOBALS["Architectures"] == ["arm64"]
    assert GLOBALS["Runtime"] == "python3.13"
    assert GLOBALS["Layers"] == [{"Ref": "RealtimeLayer"}]
    layer = template()["Resources"]["RealtimeLayer"]
    assert layer["Properties"]["CompatibleArchitectures"] == ["arm64"]
    assert layer["Properties"]["CompatibleRuntimes"] == ["python3.13"]
    assert layer["Metadata"] == {"BuildMethod": "makefile"}


def test_functions_start_from_a_snapshot_in_the_cloud() -> None:
    assert GLOBALS["AutoPublishAlias"] == "live"
    assert GLOBALS["SnapStart"] == {"ApplyOn": {"Fn::If": ["InCloud", "PublishedVersions", "None"]}}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_layer_or_property_publishes_another_version(name: str) -> None:
    assert FUNCTIONS[name]["AutoPublishAliasAllProperties"] is True
    assert template()["Resources"]["RealtimeLayer"]["Properties"]["PublishLambdaVersion"] is True


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_value_of_a_parameter_publishes_another_version(name: str) -> None:
    described = set(re.findall(r"\$\{(\w+)\}", FUNCTIONS[name]["VersionDescription"]["Fn::Sub"]))
    environment = [FUNCTIONS[name]["Environment"], GLOBALS["Environment"]]
    assert described == parameters_in(environment)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_version_description_of_default_values_leaves_room_for_longer_ones(name: str) -> None:
    defaults = {key: str(parameter["Default"]) for key, parameter in template()["Parameters"].items()}
    text = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], FUNCTIONS[name]["VersionDescription"]["Fn::Sub"])
    assert len(text) < DESCRIPTION_CHARACTERS / 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_to_a_group_of_its_own_that_forgets(name: str) -> None:
    log = resources("AWS::Logs::LogGroup")[name.replace("Function", "Log")]
    short = name.removesuffix("Function").lower()
    assert FUNCTIONS[name]["LoggingConfig"] == {"LogGroup": {"Ref": name.replace("Function", "Log")}}
    assert log["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{short}"}
    assert log["RetentionInDays"] == {"Ref": "LogRetentionDays"}


@pytest.mark.parametrize("name", ["ConnectFunction", "DisconnectFunction", "DefaultFunction"])
def test_a_routes_function_ends_before_api_gateway_gives_up_on_it(name: str) -> None:
    assert FUNCTIONS[name].get("Timeout", GLOBALS["Timeout"]) < 29


@pytest.mark.parametrize(("name", "table", "event"), STREAMS)
def test_a_stream_mapping_loses_nothing_and_is_never_held_up(name: str, table: str, event: str) -> None:
    mapping = FUNCTIONS[name]["Events"][event]
    properties = mapping["Properties"]
    assert mapping["Type"] == "DynamoDB"
    assert properties["Stream"] == {"Fn::GetAtt": [table, "StreamArn"]}
    assert properties["StartingPosition"] == "TRIM_HORIZON"
    assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert properties["BisectBatchOnFunctionError"] is True
    assert 0 < properties["MaximumRetryAttempts"] <= 100
    assert 60 <= properties["MaximumRecordAgeInSeconds"] <= 86_400
    assert properties["DestinationConfig"]["OnFailure"] == {
        "Type": "SQS",
        "Destination": {"Fn::GetAtt": ["StreamFailuresQueue", "Arn"]},
    }


@pytest.mark.parametrize(("name", "table", "event"), STREAMS)
def test_batches_run_in_parallel_only_where_order_is_that_of_single_items(name: str, table: str, event: str) -> None:
    keys = resources("AWS::DynamoDB::Table")[table]["KeySchema"]
    factor = FUNCTIONS[name]["Events"][event]["Properties"].get("ParallelizationFactor", 1)
    assert (factor > 1) == (len(keys) == 1)


def test_a_stream_has_no_more_readers_than_dynamodb_allows() -> None:
    for table in ("UsersTable", "EventsTable"):
        assert 1 <= sum(each == table for _, each, _ in STREAMS) <= 2
    found = {
        (name, event)
        for name, function in FUNCTIONS.items()
        for event, mapping in function.get("Events", {}).items()
        if mapping["Type"] == "DynamoDB"
    }
    assert found == {(name, event) for name, _, event in STREAMS}


@pytest.mark.parametrize(
    ("name", "event", "pattern"),
    [
        ("AnnounceFunction", "UserChanges", {"eventName": ["INSERT", "MODIFY"]}),
        (
            "BroadcastFunction",
            "NarrowEvents",
            {"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {"reach": {"S": ["narrow"]}}}},
        ),
        (
            "BroadcastFunction",
            "WideEvents",
            {"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {"reach": {"S": ["wide"]}}}},
        ),
    ],
)
def test_a_stream_mapping_calls_for_what_concerns_it_alone(name: str, event: str, pattern: dict[str, Any]) -> None:
    (chosen,) = FUNCTIONS[name]["Events"][event]["Properties"]["FilterCriteria"]["Filters"]
    assert json.loads(chosen["Pattern"]) == pattern


def test_ingest_hears_all_events_but_our_own() -> None:
    rule = FUNCTIONS["IngestFunction"]["Events"]["BackendEvents"]
    assert rule["Type"] == "EventBridgeRule"
    assert rule["Properties"]["EventBusName"] == {"Ref": "Bus"}
    assert rule["Properties"]["Pattern"] == {"source": [{"anything-but": "realtime"}]}


def test_an_event_that_cannot_be_handed_to_ingest_is_kept() -> None:
    rule = FUNCTIONS["IngestFunction"]["Events"]["BackendEvents"]["Properties"]
    assert rule["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}}


def test_an_event_that_ingest_fails_on_is_kept() -> None:
    destination = FUNCTIONS["IngestFunction"]["EventInvokeConfig"]["DestinationConfig"]
    rejected = {"Fn::GetAtt": ["RejectedEventsQueue", "Arn"]}
    assert destination == {"OnFailure": {"Type": "SQS", "Destination": rejected}}


def test_deadlines_gives_back_only_the_checks_that_failed() -> None:
    mapping = FUNCTIONS["DeadlinesFunction"]["Events"]["Deadlines"]
    assert mapping["Type"] == "SQS"
    assert mapping["Properties"]["Queue"] == {"Fn::GetAtt": ["DeadlinesQueue", "Arn"]}
    assert mapping["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_sweep_ends_before_the_next_begins() -> None:
    sweep = FUNCTIONS["SweepFunction"]
    assert sweep["Events"]["EachMinute"]["Type"] == "Schedule"
    assert sweep["Events"]["EachMinute"]["Properties"]["Schedule"] == "rate(1 minute)"
    assert sweep["Timeout"] < 60
    assert sweep["EventInvokeConfig"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}


def test_a_check_stays_hidden_while_its_function_may_still_work_on_it() -> None:
    visibility = resources("AWS::SQS::Queue")["DeadlinesQueue"]["VisibilityTimeout"]
    assert visibility >= 6 * FUNCTIONS["DeadlinesFunction"]["Timeout"]
