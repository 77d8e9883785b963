"""The functions: where they run, what they are told, what triggers them, what happens when they fail."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from ingest import LONGEST_BACK_OFF_SECONDS
from realtime import settings
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
def test_a_function_is_told_all_that_its_settings_ask_for(name: str) -> None:
    kind = getattr(settings, short_name(name).capitalize() + "Settings")
    told = FUNCTIONS[name]["Environment"]["Variables"].keys()
    assert told == {field.name.upper() for field in dataclasses.fields(kind)}


def test_all_functions_log_for_powertools() -> None:
    assert GLOBALS["Environment"]["Variables"] == {
        "POWERTOOLS_SERVICE_NAME": "realtime",
        "POWERTOOLS_LOG_LEVEL": {"Ref": "LogLevel"},
        "CONFIGURATION_VERSION": {"Ref": "Configuration"},
    }
    assert GLOBALS["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": {"Ref": "LogLevel"},
        "SystemLogLevel": "WARN",
    }


def test_functions_run_on_arm_with_python_3_13_and_the_layer() -> None:
    assert GLOBALS["Architectures"] == ["arm64"]
    assert GLOBALS["Runtime"] == "python3.13"
    assert GLOBALS["Layers"] == [{"Ref": "RealtimeLayer"}]
    layer = template()["Resources"]["RealtimeLayer"]
    assert layer["Properties"]["CompatibleArchitectures"] == ["arm64"]
    assert layer["Properties"]["CompatibleRuntimes"] == ["python3.13"]
    assert layer["Metadata"] == {"BuildMethod": "makefile"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_starts_from_a_snapshot_where_that_was_asked_for(name: str) -> None:
    assert GLOBALS["AutoPublishAlias"] == "live"
    condition = "SnapsForClients" if name in ("ConnectFunction", "DefaultFunction") else "SnapsAll"
    chosen = FUNCTIONS[name].get("SnapStart", GLOBALS["SnapStart"])
    assert chosen == {"ApplyOn": {"Fn::If": [condition, "PublishedVersions", "None"]}}
    assert template()["Conditions"]["SnapsAll"] == {"Fn::Equals": [{"Ref": "SnapStart"}, "all"]}
    assert template()["Conditions"]["SnapsForClients"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "SnapStart"}, "none"]}]}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_layer_property_or_configuration_publishes_another_version(name: str) -> None:
    assert FUNCTIONS[name]["AutoPublishAliasAllProperties"] is True
    assert template()["Resources"]["RealtimeLayer"]["Properties"]["PublishLambdaVersion"] is True
    assert FUNCTIONS[name]["VersionDescription"] == {"Fn::Sub": "configuration ${Configuration}"}


def test_a_version_goes_when_another_takes_its_place() -> None:
    assert GLOBALS["VersionDeletionPolicy"] == "Delete"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_configuration_names_all_that_a_functions_environment_depends_on(name: str) -> None:
    text, more = template()["Resources"]["Configuration"]["Properties"]["Content"]["Fn::Sub"]
    named = set(re.findall(r"\$\{(\w+)\}", text)) | depends_on(more)
    needed = depends_on([FUNCTIONS[name]["Environment"], FUNCTIONS[name].get("SnapStart"), GLOBALS["LoggingConfig"]])
    assert needed
    assert needed <= named


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_to_a_group_of_its_own_that_forgets(name: str) -> None:
    log = resources("AWS::Logs::LogGroup")[name.replace("Function", "Log")]
    assert FUNCTIONS[name]["LoggingConfig"] == {"LogGroup": {"Ref": name.replace("Function", "Log")}}
    assert log == {"RetentionInDays": {"Ref": "LogRetentionDays"}}


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
    assert properties["MaximumRetryAttempts"] == -1  # as often as its age allows
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
            "BroadcastWideFunction",
            "WideEvents",
            {"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {"reach": {"S": ["wide"]}}}},
        ),
    ],
)
def test_a_stream_mapping_calls_for_what_concerns_it_alone(name: str, event: str, pattern: dict[str, Any]) -> None:
    (chosen,) = FUNCTIONS[name]["Events"][event]["Properties"]["FilterCriteria"]["Filters"]
    assert json.loads(chosen["Pattern"]) == pattern


def test_ingest_hears_all_events_but_our_own() -> None:
    (rule,) = resources("AWS::Events::Rule").values()
    (target,) = rule["Targets"]
    assert rule["EventBusName"] == {"Ref": "Bus"}
    assert rule["EventPattern"] == {"source": [{"anything-but": "realtime"}]}
    assert target["Arn"] == {"Fn::GetAtt": ["BackendEventsQueue", "Arn"]}
    mapping = FUNCTIONS["IngestFunction"]["Events"]["BackendEvents"]
    assert mapping["Properties"]["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "IngestConcurrency"}}


def test_an_event_that_cannot_be_put_into_the_queue_is_kept() -> None:
    (rule,) = resources("AWS::Events::Rule").values()
    assert rule["Targets"][0]["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}}


def test_an_event_that_ingest_fails_on_is_tried_for_hours_and_kept() -> None:
    redrive = resources("AWS::SQS::Queue")["BackendEventsQueue"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["FailedEventsQueue", "Arn"]}
    hours = redrive["maxReceiveCount"] * LONGEST_BACK_OFF_SECONDS / 2 / 3600  # full jitter: half of it, as a rule
    assert 3 <= hours <= 24


QUEUES = [
    ("IngestFunction", "BackendEventsQueue"),
    ("DeadlinesFunction", "DeadlinesQueue"),
    ("FarewellFunction", "FarewellsQueue"),
]


@pytest.mark.parametrize(("name", "queue"), QUEUES)
def test_a_queues_function_gives_back_only_what_failed(name: str, queue: str) -> None:
    (mapping,) = FUNCTIONS[name]["Events"].values()
    assert mapping["Type"] == "SQS"
    assert mapping["Properties"]["Queue"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert mapping["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_sweep_ends_before_the_next_begins() -> None:
    sweep = FUNCTIONS["SweepFunction"]
    assert sweep["Events"]["EachMinute"]["Type"] == "Schedule"
    assert sweep["Events"]["EachMinute"]["Properties"]["Schedule"] == "rate(1 minute)"
    assert sweep["Timeout"] < 60
    assert sweep["EventInvokeConfig"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}


@pytest.mark.parametrize(("name", "queue"), QUEUES)
def test_a_message_stays_hidden_while_its_function_may_still_work_on_it(name: str, queue: str) -> None:
    visibility = resources("AWS::SQS::Queue")[queue]["VisibilityTimeout"]
    assert visibility >= 6 * FUNCTIONS[name]["Timeout"]
