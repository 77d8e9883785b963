"""Tables, queues, bus and alarms."""

from __future__ import annotations

import pytest

from tests.cloudformation import resources

TABLES = resources("AWS::DynamoDB::Table")
QUEUES = resources("AWS::SQS::Queue")
FAILURES = {
    "DeadlinesDeadLetterQueue",
    "FailedEventsQueue",
    "RejectedEventsQueue",
    "UndeliveredEventsQueue",
    "StreamFailuresQueue",
}
FOURTEEN_DAYS = 14 * 86_400


@pytest.mark.parametrize("table", ["ConnectionsTable", "EventsTable"])
def test_items_of_limited_life_have_an_expiry(table: str) -> None:
    assert TABLES[table]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def test_users_never_expire() -> None:
    assert "TimeToLiveSpecification" not in TABLES["UsersTable"]


def test_the_audience_index_holds_what_a_post_needs() -> None:
    (index,) = TABLES["ConnectionsTable"]["GlobalSecondaryIndexes"]
    needed = {"user_id", "endpoint", "types", "batch", "connected_at", "expires_at"}
    assert set(index["Projection"]["NonKeyAttributes"]) == needed


def test_the_online_index_holds_what_snapshots_show_and_hide_and_what_sweeps_look_for() -> None:
    (index,) = TABLES["UsersTable"]["GlobalSecondaryIndexes"]
    snapshots = {"username", "role", "is_online", "busy_calls", "is_busy_manual", "last_seen", "hidden_from", "version"}
    sweeps = {"connection_ids", "left_at", "last_seen"}
    assert set(index["Projection"]["NonKeyAttributes"]) == snapshots | sweeps


def test_checks_that_keep_failing_are_kept_apart() -> None:
    redrive = QUEUES["DeadlinesQueue"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadlinesDeadLetterQueue", "Arn"]}
    assert 3 <= redrive["maxReceiveCount"] <= 10


@pytest.mark.parametrize("queue", QUEUES)
def test_queues_are_encrypted(queue: str) -> None:
    assert QUEUES[queue]["SqsManagedSseEnabled"] is True


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
    assert QUEUES.keys() == FAILURES | {"BackendEventsQueue", "DeadlinesQueue", "FarewellsQueue"}


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


def test_an_alarm_is_raised_when_events_of_backends_are_delayed() -> None:
    (counted,) = resources("AWS::Logs::MetricFilter").values()
    (metric,) = counted["MetricTransformations"]
    assert counted["LogGroupName"] == {"Ref": "IngestLog"}
    assert counted["FilterPattern"] == '{ $.message = "failed" }'  # as functions/ingest.py logs it
    alarm = resources("AWS::CloudWatch::Alarm")["PutOffEventsAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (metric["MetricNamespace"], metric["MetricName"])
    assert "Dimensions" not in alarm
