"""Tables, queues, bus and alarms."""

from __future__ import annotations

import pytest

from tests.cloudformation import resources

TABLES = resources("AWS::DynamoDB::Table")
QUEUES = resources("AWS::SQS::Queue")
FAILURES = {
    "DeadlinesDeadLetterQueue",
    "LateDeadLetterQueue",
    "FailedEventsQueue",
    "RejectedEventsQueue",
    "UndeliveredEventsQueue",
    "StreamFailuresQueue",
}
FOURTEEN_DAYS = 14 * 86_400


@pytest.mark.parametrize("table", ["ConnectionsTable", "EventsTable"])
def test_items_of_limited_life_have_an_expiry(table: str) -> None:
    assert TABLES[table]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


@pytest.mark.parametrize("table", ["UsersTable", "BlocksTable"])
def test_users_and_blocks_never_expire(table: str) -> None:
    assert "TimeToLiveSpecification" not in TABLES[table]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_protected_can_be_restored(table: str) -> None:
    restorable = {"PointInTimeRecoveryEnabled": {"Fn::If": ["IsProtected", True, False]}}
    assert TABLES[table]["PointInTimeRecoverySpecification"] == restorable
    assert TABLES[table]["DeletionProtectionEnabled"] == {"Ref": "Protect"}


def test_the_audience_index_holds_what_a_post_needs() -> None:
    (index,) = TABLES["ConnectionsTable"]["GlobalSecondaryIndexes"]
    needed = {"user_id", "endpoint", "types", "batch", "connected_at", "expires_at"}
    assert set(index["Projection"]["NonKeyAttributes"]) == needed


def test_the_online_index_holds_what_snapshots_show_and_hide_and_what_sweeps_look_for() -> None:
    (index,) = TABLES["UsersTable"]["GlobalSecondaryIndexes"]
    snapshots = {"username", "role", "is_online", "busy_calls", "is_busy_manual", "is_away", "last_seen", "version"}
    blocks = {"hidden_from", "listed_blocks"}
    sweeps = {"connection_ids", "left_at", "last_seen"}
    assert set(index["Projection"]["NonKeyAttributes"]) == snapshots | blocks | sweeps


@pytest.mark.parametrize("name", ["Deadlines", "Late"])
def test_messages_that_keep_failing_are_kept_apart(name: str) -> None:
    redrive = QUEUES[f"{name}Queue"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [f"{name}DeadLetterQueue", "Arn"]}
    assert 3 <= redrive["maxReceiveCount"] <= 10


@pytest.mark.parametrize("queue", QUEUES)
def test_queues_are_encrypted(queue: str) -> None:
    given, absent = {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}
    assert QUEUES[queue]["SqsManagedSseEnabled"] == {"Fn::If": ["HasKmsKey", absent, True]}
    assert QUEUES[queue]["KmsMasterKeyId"] == {"Fn::If": ["HasKmsKey", given, absent]}


@pytest.mark.parametrize("queue", sorted(FAILURES))
def test_failures_are_kept_for_the_longest_time_that_sqs_allows(queue: str) -> None:
    assert QUEUES[queue]["MessageRetentionPeriod"] == FOURTEEN_DAYS


@pytest.mark.parametrize("queue", sorted(FAILURES))
def test_a_failure_raises_an_alarm(queue: str) -> None:
    alarm = resources("AWS::CloudWatch::Alarm")[queue.removesuffix("Queue") + "Alarm"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)


def test_every_queue_is_either_worked_on_or_watched() -> None:
    assert QUEUES.keys() == FAILURES | {"BackendEventsQueue", "DeadlinesQueue", "FarewellsQueue", "LateQueue"}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("LateEvents", "BroadcastFunction"),
        ("LateWideEvents", "BroadcastWideFunction"),
        ("LateUserChanges", "AnnounceFunction"),
    ],
)
def test_an_alarm_is_raised_when_a_stream_is_read_late(name: str, function: str) -> None:
    alarm = resources("AWS::CloudWatch::Alarm")[f"{name}Alarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "IteratorAge")
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": function}}]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 60_000)  # ms
    assert alarm["AlarmActions"] == {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    # Lambda emits it once for each batch: a running batch causes minutes without it, which must not count as good.
    timeout = resources("AWS::Serverless::Function")[function]["Timeout"]
    assert alarm["EvaluationPeriods"] * alarm["Period"] >= timeout
    assert alarm["DatapointsToAlarm"] < alarm["EvaluationPeriods"]


@pytest.mark.parametrize(
    ("name", "log", "line", "value"),
    [
        ("PutOffEvents", "IngestLog", "failed", "1"),  # as functions/ingest.py logs it
        ("LatePresence", "BroadcastWideLog", "presence is late", "$.stale"),  # as functions/broadcast.py logs it
    ],
)
def test_an_alarm_is_raised_by_lines_of_a_log(name: str, log: str, line: str, value: str) -> None:
    counted = resources("AWS::Logs::MetricFilter")[f"{name}Filter"]
    (metric,) = counted["MetricTransformations"]
    assert counted["LogGroupName"] == {"Ref": log}
    assert counted["FilterPattern"] == f'{{ $.message = "{line}" }}'
    assert metric["MetricValue"] == value
    alarm = resources("AWS::CloudWatch::Alarm")[f"{name}Alarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (metric["MetricNamespace"], metric["MetricName"])
    assert "Dimensions" not in alarm


@pytest.mark.parametrize("function", ["Connect", "Default"])
def test_an_alarm_is_raised_by_failed_requests_of_clients(function: str) -> None:
    counted = resources("AWS::Logs::MetricFilter")[f"{function}FailuresFilter"]
    assert counted["LogGroupName"] == {"Ref": f"{function}Log"}
    assert counted["FilterPattern"] == '{ $.level = "ERROR" }'  # a refusal is a warning
    (metric,) = counted["MetricTransformations"]
    alarms = resources("AWS::CloudWatch::Alarm")
    told, crashed = alarms["FailedRequestsAlarm"], alarms[f"{function}ErrorsAlarm"]
    assert (told["Namespace"], told["MetricName"]) == (metric["MetricNamespace"], metric["MetricName"])
    assert (crashed["Namespace"], crashed["MetricName"]) == ("AWS/Lambda", "Errors")
    assert crashed["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": f"{function}Function"}}]


def test_an_alarm_is_raised_when_nothing_sweeps_and_when_sweeps_fail() -> None:
    missing, failing = (resources("AWS::CloudWatch::Alarm")[name] for name in ("SweepAlarm", "SweepErrorsAlarm"))
    for alarm in (missing, failing):
        assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "SweepFunction"}}]
    assert (missing["MetricName"], missing["ComparisonOperator"]) == ("Invocations", "LessThanThreshold")
    assert missing["TreatMissingData"] == "breaching"  # without invocations Lambda emits nothing
    assert (failing["MetricName"], failing["Threshold"]) == ("Errors", 0)


def test_a_backlog_for_everyone_is_taken_in_one_go() -> None:
    (wide,) = resources("AWS::Serverless::Function")["BroadcastWideFunction"]["Events"].values()
    assert wide["Properties"]["BatchSize"] == 10_000  # the most that Lambda takes
    assert wide["Properties"]["MaximumBatchingWindowInSeconds"] == {"Ref": "PresenceBatchingWindowSeconds"}
