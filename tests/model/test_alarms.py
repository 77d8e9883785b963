"""Each alarm is raised by its cause, and no alarm in an hour in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from realtime import metrics
from tests.cloudformation import resources, template
from tests.model.service import SimulatedService
from tests.model.watched import WatchedService, refuse_a_client
from tests.support.cloudwatch import OWN, CloudWatch, standing_alarms

UNDELIVERED = "UndeliveredEventsQueue"
Cause = Callable[[WatchedService], None]


@pytest.fixture
def watched(service: SimulatedService, monkeypatch: pytest.MonkeyPatch) -> WatchedService:
    return WatchedService(service, monkeypatch)


def test_no_alarm_is_raised_in_a_healthy_hour(watched: WatchedService) -> None:
    for _ in range(6):
        refuse_a_client(watched)  # a client with an old token is no fault
        watched.live(10, busy=2)
    assert watched.cloudwatch.raised == {}
    for metric in (metrics.DELIVERED, metrics.EVENTS, metrics.OPENED, metrics.CLOSED, metrics.REFUSED, metrics.POSTS):
        assert watched.cloudwatch.total(OWN, metric.name) > 0, metric


def functions_of_clients_crash(watched: WatchedService) -> None:
    watched.live(2)
    watched.crashing = {"connect", "default"}
    watched.live(5)


def functions_that_change_state_crash(watched: WatchedService) -> None:
    watched.crashing = {"disconnect", "ingest", "announce"}
    watched.live(5)


def posting_crashes(watched: WatchedService) -> None:
    watched.crashing = {"broadcast", "broadcast-wide"}
    watched.live(5)


def functions_of_queues_crash(watched: WatchedService) -> None:
    watched.slow_clients = True
    watched.crashing = {"late", "farewell", "deadlines"}
    for _ in range(6):
        refuse_a_client(watched)
        watched.live(1)


def queues_give_up(watched: WatchedService) -> None:
    watched.slow_clients = True
    watched.without_right = {"late", "deadlines"}
    watched.live(18, busy=2)


def sweeps_fail(watched: WatchedService) -> None:
    watched.without_right = {"sweep"}
    watched.live(15, busy=1)


def nothing_sweeps(watched: WatchedService) -> None:
    watched.not_invoked = {"sweep"}
    watched.live(15, busy=1)


def handshakes_and_frames_fail(watched: WatchedService) -> None:
    watched.live(1)
    watched.without_right = {"connect", "default"}
    watched.live(5)


def events_cannot_be_recorded(watched: WatchedService) -> None:
    watched.without_right = {"ingest"}
    watched.service.publish("status_change", {"user_id": 1, "is_busy": True}, later=True)
    (event,) = watched.service.backend_events
    for _ in range(99):
        watched.service.ingest(event)
    watched.live(5)


def events_break_their_schema(watched: WatchedService) -> None:
    watched.service.publish("status_change", {"user_id": 1, "is_busy": "perhaps"})
    watched.live(1)


def a_record_cannot_be_read(watched: WatchedService) -> None:
    watched.live(1)
    watched.service.publish("status_change", {"user_id": 1, "is_busy": True})
    for record in watched.service.user_records:
        record["dynamodb"]["NewImage"]["busy_calls"] = {"S": "none of ours"}
        record["dynamodb"]["NewImage"].pop("user_id")
    watched.live(1)


def eventbridge_gives_up(watched: WatchedService) -> None:
    watched.dead[UNDELIVERED] += 1  # by itself, into the queue that the rule names
    watched.live(1)


def queues_are_not_read(watched: WatchedService) -> None:
    watched.not_invoked = {"deadlines"}
    watched.live(1)
    watched.not_invoked = {"ingest", "deadlines"}
    watched.live(21, busy=1)


def streams_are_read_late(watched: WatchedService) -> None:
    watched.lag = dict.fromkeys(("announce", "broadcast", "broadcast-wide"), 90.0)
    watched.service.connect("7", "presence")
    watched.live(7)


def no_function_is_invoked(watched: WatchedService) -> None:
    watched.is_throttled = True
    watched.live(3)


def the_api_may_not_invoke(watched: WatchedService) -> None:
    watched.unreachable = {"connect"}
    watched.live(3)


CAUSES: dict[Cause, set[str]] = {
    functions_of_clients_crash: {"ConnectErrorsAlarm", "DefaultErrorsAlarm"},
    functions_that_change_state_crash: {"DisconnectErrorsAlarm", "IngestErrorsAlarm", "AnnounceErrorsAlarm"},
    posting_crashes: {"BroadcastErrorsAlarm", "BroadcastWideErrorsAlarm"},
    functions_of_queues_crash: {"LateErrorsAlarm", "FarewellErrorsAlarm", "DeadlinesErrorsAlarm"},
    queues_give_up: {"DeadlinesDeadLetterAlarm", "LateDeadLetterAlarm"},
    sweeps_fail: {"SweepErrorsAlarm"},
    nothing_sweeps: {"SweepAlarm"},
    handshakes_and_frames_fail: {"FailedRequestsAlarm"},
    events_cannot_be_recorded: {"PutOffEventsAlarm", "FailedEventsAlarm"},
    events_break_their_schema: {"RejectedEventsAlarm"},
    a_record_cannot_be_read: {"StreamFailuresAlarm"},
    eventbridge_gives_up: {"UndeliveredEventsAlarm"},
    queues_are_not_read: {"LateBackendEventsAlarm", "LateChecksAlarm"},
    streams_are_read_late: {"LateUserChangesAlarm", "LateEventsAlarm", "LateWideEventsAlarm", "LatePresenceAlarm"},
    no_function_is_invoked: {"ThrottledFunctionsAlarm"},
    the_api_may_not_invoke: {"ApiErrorsAlarm"},
}
BY_HAND = {"PostsNearBudgetAlarm"}


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_an_alarm_is_raised_by_its_cause(watched: WatchedService, cause: Cause) -> None:
    cause(watched)
    assert CAUSES[cause] <= watched.cloudwatch.raised.keys()


def test_every_alarm_has_a_cause() -> None:
    assert set().union(*CAUSES.values()) | BY_HAND == set(standing_alarms())


def test_eventbridge_gives_up_into_the_queue_that_has_the_alarm() -> None:
    (target,) = resources("AWS::Events::Rule")["BackendEventsRule"]["Targets"]
    assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": [UNDELIVERED, "Arn"]}


@pytest.mark.parametrize(("part", "is_raised"), [(0.7, False), (0.81, True)])
def test_posts_near_the_budget_raise_an_alarm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, part: float, is_raised: bool
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "realtime/prod")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "realtime")
    cloudwatch = CloudWatch(RequestsPerSecond="2500")
    posts_a_minute = int(template()["Mappings"]["Shares"]["2500"]["Posts"]) * 60
    for _ in range(3):
        for _ in range(10):  # instances
            with metrics.of_invocation():
                metrics.count(metrics.POSTS, int(posts_a_minute * part / 10))
        cloudwatch.log("BroadcastLog", capsys.readouterr().out)
        cloudwatch.end_minute()
    assert ("PostsNearBudgetAlarm" in cloudwatch.raised) is is_raised


@pytest.mark.parametrize("division", ["Shares", "SharesMostlyPosts"])
def test_the_budget_is_near_at_four_fifths_of_the_posts_of_a_minute(division: str) -> None:
    shares = template()["Mappings"][division]
    assert {rate: int(each["Near"]) for rate, each in shares.items()} == {
        rate: int(each["Posts"]) * 60 * 4 // 5 for rate, each in shares.items()
    }


def test_a_batch_that_runs_for_minutes_does_not_hide_that_it_is_late() -> None:
    """Lambda reports a stream's age once for each batch (R1)."""
    cloudwatch = CloudWatch()
    for minute in range(15):
        if minute % 7 == 0:
            cloudwatch.put("AWS/Lambda", "IteratorAge", "BroadcastWideFunction", 70_000 * (minute + 1))
        cloudwatch.end_minute()
    assert "LateWideEventsAlarm" in cloudwatch.raised
