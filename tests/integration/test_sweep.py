"""sweep, from the event of a minute to what it mends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest

from realtime import session_checks
from realtime import sweep as sweeping
from realtime.aws import clients
from realtime.errors import ConfigurationError, RealtimeError, Rejected, Unavailable
from realtime.ids import make_event_id
from realtime.messages import rfc3339
from realtime.posting.delivery import Outcome
from realtime.sweep import Policy, Sweeper
from realtime.tables import TableNames, Tables
from realtime.tables.calls import Calls
from realtime.tables.connections import Connections
from realtime.tables.dynamodb import Cursor, item
from realtime.tables.entries import Entry, read_entry
from realtime.tables.membership import online_shard
from realtime.tables.outbox import Outbox
from realtime.tables.registry import Registry
from realtime.tables.served import Served
from realtime.tables.session_scan import Progress, SessionScan
from realtime.tables.users import Users
from tests.logs import LogLines
from tests.samples import KEY_ID, SECRET, backend_event, sample
from tests.support import cloud as cloud_module
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.unit.fakes import Clock, FakePoster, aws_error

FEED, CALLS = "RfGx1dQAIAMCIhA=", "RfGx7cN9IAMCKtw="
LEASE = 900


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """Let jane_smith be connected to feed and calls."""
    for name in ("connect.token-in-query", "connect.token-in-header"):
        cloud.function("connect")(sample(name))
    return cloud


def sweep(
    cloud: Cloud,
    outcomes: dict[str, Outcome] | None = None,
    answers: dict[str, str] | None = None,
    **parameters: object,
) -> None:
    cloud.poster = FakePoster(outcomes)
    cloud.poster.answers = answers or {}
    assert cloud.function("sweep", **parameters)(sample("sweep")) is None


def sweeper(poster: FakePoster, *, clock: Callable[[], float]) -> Sweeper:
    """Return what sweeps the tables, on a clock of its own."""
    tables = Tables(clients.client("dynamodb"), TableNames("ConnectionsTable", "UsersTable", "EventsTable"))
    return Sweeper(tables, poster, Policy(LEASE, 10, 3600), clock=clock, pause=lambda _: None)


def asked(cloud: Cloud) -> set[str]:
    """Return the connections that API Gateway was asked about."""
    assert all(each.ask and not each.frames and not each.close for each in cloud.poster.deliveries)
    return {each.connection_id for each in cloud.poster.deliveries}


def token(expires_at_s: float) -> str:
    claims = {"sub": "123", "username": "jane_smith", "role": "listener", "exp": int(expires_at_s)}
    return jwt.encode(claims, SECRET, headers={"kid": KEY_ID})


def entries(cloud: Cloud) -> list[dict[str, Any]]:
    """Return the entries of the outbox."""
    return [row for row in cloud.rows("Events") if "message" in row]


def lease(cloud: Cloud, connection_id: str = FEED) -> int:
    row = cloud.row("Connections", connection_id=connection_id, audience=f"connection/{connection_id}") or {}
    until: int = row["lease_until"]
    return until


def test_no_connection_is_a_suspect_while_its_lease_lasts(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE
    sweep(cloud)
    assert asked(cloud) == set()


def test_a_suspect_that_lives_gets_another_lease(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud)
    assert asked(cloud) == {FEED, CALLS}
    assert lease(cloud) == lease(cloud, CALLS) == int(clock.now) + LEASE
    assert cloud.user()["connection_ids"] == {FEED, CALLS}
    assert entries(cloud) == []


def test_a_suspect_that_is_gone_is_forgotten(cloud: Cloud, clock: Clock, logged: LogLines) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: Outcome.GONE})
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {CALLS}
    assert cloud.user()["connection_ids"] == {CALLS}
    (line,) = (each for each in logged.lines if each["message"] == "swept")
    assert (line["suspects"], line["gone"], line["delivered"]) == (2, 1, 1)


def test_a_session_that_is_all_that_forgetting_left_of_a_connection_is_deleted(cloud: Cloud, clock: Clock) -> None:
    tables = Tables(clients.client("dynamodb"), TableNames("ConnectionsTable", "UsersTable", "EventsTable"))
    tables.users.leave("123", FEED, int(clock.now * 1000))
    session = f"connection/{FEED}"
    tables.connections.delete((FEED, audience) for audience in cloud.audiences_of(FEED) - {session})
    assert cloud.audiences_of(FEED) == {session}
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: Outcome.GONE})
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {CALLS}
    assert cloud.user()["connection_ids"] == {CALLS}


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED, Outcome.NOT_YET_OPEN])
def test_a_suspect_without_a_clear_answer_stays_as_it_is(cloud: Cloud, clock: Clock, outcome: Outcome) -> None:
    before = cloud.rows("Connections"), cloud.rows("Users")
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: outcome, CALLS: outcome})
    assert (cloud.rows("Connections"), cloud.rows("Users")) == before


def test_the_user_of_a_gone_suspect_goes_offline_like_any_other(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    cloud.function("announce", GracePeriodSeconds=0)({"Records": cloud.stream("Users")[1:]})
    (message,) = cloud.messages("Deadlines")
    event = sample("deadlines.offline")
    event["Records"][0]["body"] = message["Body"]
    cloud.function("deadlines")(event)
    assert cloud.user()["is_online"] is False


def test_a_user_whom_a_sweep_finds_gone_is_followed_by_the_sweeps_id(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_module.Context, "aws_request_id", "a-sweep", raising=False)
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: Outcome.GONE})
    assert cloud.user()["trace_id"] == "a-sweep"


def test_a_farewell_of_a_sweep_has_its_id_but_the_advice_to_reconnect_is_one_entry_for_all_sweeps(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = []
    for number in range(2):
        monkeypatch.setattr(cloud_module.Context, "aws_request_id", f"sweep-{number}", raising=False)
        clock.now = STORY_BEGINS + 110 * 60
        monkeypatch.setattr(SessionScan, "progress", lambda *_: Progress())  # that of the first was lost
        sweep(cloud)
        items.append([row for row in cloud.rows("Events") if row.get("kind") == "reconnect"])
    assert items[0]
    assert items[1] == items[0]
    clock.now = STORY_BEGINS + 2 * 3600 + 301
    sweep(cloud)
    assert {row.get("trace_id") for row in cloud.rows("Events") if row.get("close")} == {"sweep-1"}


def test_a_sweep_ends_in_time_and_keeps_how_far_it_came_however_slow_the_tables_are(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    has_begun, answers = threading.Event(), threading.Event()
    ended: list[str] = []
    kept: list[bool] = []

    def forget(_registry: Registry, connection_id: str, *_: object) -> None:
        has_begun.set()
        answers.wait(10)
        ended.append(connection_id)

    monkeypatch.setattr(Registry, "forget", forget)
    monkeypatch.setattr(sweeping, "SEGMENTS", 1)
    monkeypatch.setattr(SessionScan, "keep", lambda *_: kept.append(has_begun.wait(10) and not answers.is_set()))
    poster = FakePoster({FEED: Outcome.GONE, CALLS: Outcome.GONE})
    end = sweeping.SETTLING_SECONDS  # on a clock that shows this time
    found = sweeper(poster, clock=lambda: end).sweep(int(clock.now * 1000), 0.0)
    was_waited_for = bool(ended)
    answers.set()
    assert (found["unsettled"], kept, was_waited_for) == (2, [True], False)


def test_a_missing_right_is_a_configuration_error(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    with pytest.raises(ConfigurationError, match="the role of sweep may not ask"):
        sweep(cloud, {FEED: Outcome.FORBIDDEN})


def test_a_sweep_that_may_not_ask_keeps_how_far_it_came_and_settles_what_it_knows(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    first, second = CALLS, FEED  # in the order in which they are asked about
    with pytest.raises(ConfigurationError):
        sweep(cloud, {first: Outcome.GONE, second: Outcome.FORBIDDEN})
    assert [each.connection_id for each in cloud.poster.deliveries] == [first, second]
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {second}
    assert [row for row in cloud.rows("Events") if row["audience"] == "sweep"]


def test_a_connection_may_be_a_little_older_than_api_gateway_allows(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + 2 * 3600 + 300  # its $disconnect may be on its way, and clocks differ
    sweep(cloud)
    assert not any(row.get("close") for row in cloud.rows("Events"))


def test_a_connection_older_than_api_gateway_allows_is_told_to_reconnect_and_closed(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + 2 * 3600 + 301
    sweep(cloud)
    farewells = {row["audience"]: row for row in entries(cloud)}
    assert set(farewells) == {f"connection/{FEED}", f"connection/{CALLS}"}
    for row in farewells.values():
        assert row["close"] is True
        message = json.loads(row["message"])
        assert (message["type"], message["data"]) == ("reconnect", {"within_seconds": 0})
    assert lease(cloud) > clock.now  # so that it is not asked about, and told, each minute


RECONNECT_AT = STORY_BEGINS + 110 * 60


@pytest.mark.parametrize("swept_at", [[0], [0, 60, 120], [60, 120], [120], [179]])
def test_a_connection_is_told_once_to_reconnect_though_some_sweeps_fail(
    cloud: Cloud, clock: Clock, swept_at: list[int]
) -> None:
    clock.now = RECONNECT_AT - 1
    sweep(cloud)
    assert entries(cloud) == []
    for seconds in swept_at:
        clock.now = RECONNECT_AT + seconds
        sweep(cloud)
    frames = {each["audience"]: each for each in entries(cloud)}
    assert frames.keys() == {f"connection/{FEED}", f"connection/{CALLS}"}
    for row in frames.values():
        message = json.loads(row["message"])
        assert (message["type"], message["data"]) == ("reconnect", {"within_seconds": 300})
        assert "close" not in row
    # Where an item does not change, DynamoDB's stream shows nothing; moto's does.
    shown = [each["dynamodb"]["NewImage"] for each in cloud.stream("Events")]
    assert len({json.dumps(each) for each in shown if "message" in each}) == 2


def test_a_connection_that_no_sweep_told_in_time_is_not_told_late(cloud: Cloud, clock: Clock) -> None:
    """There would be less time to move than it says."""
    clock.now = RECONNECT_AT + 302
    sweep(cloud)
    assert entries(cloud) == []


def test_a_pass_that_takes_minutes_tells_all_that_became_old_since_the_last_one_began(
    cloud: Cloud, clock: Clock
) -> None:
    clock.now = RECONNECT_AT - 1
    sweep(cloud)
    clock.now = RECONNECT_AT + 290
    sweep(cloud)
    assert len(entries(cloud)) == 2


@pytest.mark.usefixtures("jwt_clock")
def test_a_connection_whose_token_has_expired_gets_an_error_and_is_closed(cloud: Cloud, clock: Clock) -> None:
    assert cloud.function("default")(
        {
            **sample("default.ping"),
            "body": json.dumps({"type": "authenticate", "data": {"token": token(STORY_BEGINS + 600)}}),
        }
    )
    clock.now = STORY_BEGINS + 600
    sweep(cloud)
    assert entries(cloud) == []
    clock.now += 1
    sweep(cloud)
    (row,) = entries(cloud)
    assert (row["audience"], row["close"]) == (f"connection/{FEED}", True)
    message = json.loads(row["message"])
    assert (message["type"], message["data"]["code"]) == ("error", "AUTH_FAILED")


def test_a_gone_connection_whose_token_has_expired_is_forgotten(cloud: Cloud, clock: Clock) -> None:
    clock.now = 4_102_444_801
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    assert cloud.rows("Connections") == []


class SmallScans:
    """Lets the function's client read two items of the Connections table with each Scan."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        client = clients.client("dynamodb")
        self._scan = client.scan
        self.count = 0
        monkeypatch.setattr(sweeping, "SEGMENTS", 1)
        monkeypatch.setattr(client, "scan", self._scan_a_little)

    def _scan_a_little(self, **request: Any) -> Any:
        self.count += 1
        return self._scan(**request, Limit=2)


def suspects(cloud: Cloud) -> set[str]:
    """Sweep; return the connections that API Gateway was asked about, which stay suspects."""
    sweep(cloud, {FEED: Outcome.THROTTLED, CALLS: Outcome.THROTTLED})
    return asked(cloud)


def test_a_sweep_goes_on_where_the_last_one_had_to_stop(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = SmallScans(monkeypatch)
    monkeypatch.setattr(session_checks, "MAX_FOUND", 0)
    clock.now = STORY_BEGINS + LEASE + 1
    first, second = suspects(cloud), suspects(cloud)
    assert len(first) == len(second) == 1  # a page
    assert first | second == {FEED, CALLS}
    assert scans.count == 2
    assert (suspects(cloud) or suspects(cloud)) == first  # the third sweep begins anew, or comes to the end first


def test_a_sweep_that_reached_the_end_begins_anew(cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = SmallScans(monkeypatch)
    clock.now = STORY_BEGINS + LEASE + 1
    assert suspects(cloud) == {FEED, CALLS}
    before = scans.count
    assert suspects(cloud) == {FEED, CALLS}
    assert scans.count == 2 * before


def test_a_scan_stops_when_the_time_is_up_and_the_next_sweep_goes_on(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = SmallScans(monkeypatch)
    clock.now = STORY_BEGINS + LEASE + 1
    poster = FakePoster({FEED: Outcome.THROTTLED, CALLS: Outcome.THROTTLED})
    sweeper(poster, clock=lambda: 50.0).sweep(int(clock.now * 1000), until=47.0)
    assert (scans.count, len(poster)) == (1, 1)
    sweeper(poster, clock=lambda: 0.0).sweep(int(clock.now * 1000), until=47.0)
    assert {each.connection_id for each in poster.deliveries} == {FEED, CALLS}


# ---- users whose last connection went without the check that should have followed -----------------------------------


def strand(cloud: Cloud, clock: Clock) -> None:
    """Let jane_smith leave, and the check be lost."""
    for connection_id in (FEED, CALLS):
        event = sample("disconnect")
        event["requestContext"]["connectionId"] = connection_id
        cloud.function("disconnect")(event)
    assert clock.now == STORY_BEGINS + 0.4


def test_a_user_whose_check_was_lost_is_set_offline(cloud: Cloud, clock: Clock) -> None:
    strand(cloud, clock)
    clock.now += 10 + 300.1
    sweep(cloud, GracePeriodSeconds=10)
    assert cloud.user()["is_online"] is False
    assert cloud.user()["version"] == 3


def test_a_user_whose_check_may_still_come_stays_online(cloud: Cloud, clock: Clock) -> None:
    strand(cloud, clock)
    clock.now += 10 + 299
    sweep(cloud, GracePeriodSeconds=10)
    assert cloud.user()["is_online"] is True


def test_a_connected_user_stays_online(cloud: Cloud, clock: Clock) -> None:
    before = cloud.user()
    clock.now += 3600
    sweep(cloud)
    assert cloud.user() == before


def test_connections_that_may_still_live_are_not_taken_from_their_user(cloud: Cloud, clock: Clock) -> None:
    before = cloud.user()
    clock.now += 2 * 3600 + 299
    sweep(cloud)
    assert cloud.user()["connection_ids"] == before["connection_ids"]


def test_connections_older_than_any_can_be_are_taken_from_their_user(cloud: Cloud, clock: Clock) -> None:
    """If their rows are lost, no sweep asks API Gateway about them."""
    for row in cloud.rows("Connections"):
        key = {name: {"S": row[name]} for name in ("connection_id", "audience")}
        cloud.dynamodb.delete_item(TableName="ConnectionsTable", Key=key)
    clock.now += 2 * 3600 + 301
    sweep(cloud)
    assert "connection_ids" not in cloud.user()
    assert cloud.user()["is_online"] is True  # until the check that follows


# ---- what fails -----------------------------------------------------------------------------------------------------


def test_a_user_who_cannot_be_set_offline_does_not_stop_the_sweep(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    strand(cloud, clock)
    event = sample("connect.token-in-query")
    event["requestContext"]["connectionId"] = "ghost="
    cloud.function("ingest")(backend_event("call_started"))
    cloud.function("connect")(event)
    clock.now += 2 * 3600 + 301

    def never(self: Users, user_id: str, connection_id: str, now_ms: int, seen_ms: int) -> None:
        raise Rejected("updating a user: ValidationException")

    with monkeypatch.context() as broken:
        broken.setattr(Users, "leave", never)
        with pytest.raises(Rejected):
            sweep(cloud, {"ghost=": Outcome.DELIVERED}, CallLeaseSeconds=3600)
    assert asked(cloud) == {"ghost="}
    assert "busy_calls" not in cloud.user()
    assert any(row["kind"] == "reconnect" for row in cloud.rows("Events") if "kind" in row)


@pytest.mark.parametrize("method", ["forget", "renew_lease", "put"])
def test_the_problem_of_a_single_connection_is_raised_at_the_end(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """One connection is gone, one lives, and both are told to reconnect: each of these steps may fail."""
    clock.now = RECONNECT_AT

    def fail(*_: object, **__: object) -> None:
        raise Unavailable("a table does not answer")

    owner = {"forget": Registry, "renew_lease": Connections, "put": Outbox}[method]
    monkeypatch.setattr(owner, method, fail)
    with pytest.raises(Unavailable, match="a table does not answer"):
        sweep(cloud, {FEED: Outcome.GONE})
    assert asked(cloud) == {FEED, CALLS}


def test_the_next_sweep_goes_on_with_a_throttled_scan(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "SEGMENTS", 1)
    scan, scans = cloud.dynamodb.scan, [0]

    def throttled(**request: Any) -> Any:
        scans[0] += 1
        if scans[0] == 2:
            raise aws_error("ProvisionedThroughputExceededException")
        return scan(**request, Limit=2)

    monkeypatch.setattr(clients.client("dynamodb"), "scan", throttled)
    clock.now = STORY_BEGINS + LEASE + 1
    with pytest.raises(Unavailable):
        sweep(cloud, {FEED: Outcome.THROTTLED, CALLS: Outcome.THROTTLED})
    first = asked(cloud)
    sweep(cloud, {FEED: Outcome.THROTTLED, CALLS: Outcome.THROTTLED})
    assert len(first) == 1
    assert first | asked(cloud) == {FEED, CALLS}


# ---- calls whose end never came -------------------------------------------------------------------------------------


def test_a_call_whose_end_never_came_is_ended(cloud: Cloud, clock: Clock) -> None:
    cloud.function("ingest")(backend_event("call_started"))
    clock.now += 3600 - 1
    sweep(cloud, CallLeaseSeconds=3600)
    assert cloud.user()["busy_calls"] == {"456"}
    clock.now += 2
    sweep(cloud, CallLeaseSeconds=3600)
    assert "busy_calls" not in cloud.user("123")
    assert "busy_calls" not in cloud.user("789")


def test_the_end_of_an_ended_call_may_still_come(cloud: Cloud, clock: Clock) -> None:
    cloud.function("ingest")(backend_event("call_started"))
    clock.now += 3602
    sweep(cloud, CallLeaseSeconds=3600)
    cloud.function("ingest")(backend_event("call_ended"))
    assert [row["kind"] for row in cloud.rows("Events") if row["audience"] == "calls/123"] == [
        "call_started",
        "call_ended",
    ]


# ---- signs of life --------------------------------------------------------------------------------------------------


def pinged(cloud: Cloud, clock: Clock, *, times: int = 2) -> None:
    """Let the client on feed ping, 30 s apart."""
    for _ in range(times):
        clock.now += 30
        assert cloud.function("default")(sample("default.ping"))["statusCode"] == 200


def active_at(moment: float) -> str:
    return json.dumps({"identity": {}, "lastActiveAt": rfc3339(int(moment * 1000))})


def test_a_ghosts_user_was_last_seen_when_it_gave_its_last_sign_of_life(cloud: Cloud, clock: Clock) -> None:
    pinged(cloud, clock)
    last_ping_ms = int(clock.now) * 1000
    clock.now += LEASE + 60
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    assert "connection_ids" not in cloud.user()
    assert (cloud.user()["last_seen"], cloud.user()["left_at"]) == (last_ping_ms, int(clock.now * 1000))


def test_a_ghost_does_not_make_its_user_seen_earlier_than_another_connection_did(cloud: Cloud, clock: Clock) -> None:
    clock.now += LEASE + 60
    event = sample("connect.token-in-subprotocol")
    cloud.function("connect")(event)
    seen = cloud.user()["last_seen"]
    clock.now += 1
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    assert cloud.user()["connection_ids"] == {event["requestContext"]["connectionId"]}
    assert cloud.user()["last_seen"] == seen == int((clock.now - 1) * 1000)


def test_a_heartbeat_that_stopped_is_closed_and_forgotten_so_that_a_living_client_comes_back(
    cloud: Cloud, clock: Clock, logged: LogLines
) -> None:
    pinged(cloud, clock)
    last_ping = int(clock.now)
    clock.now += LEASE + 1
    sweep(cloud, answers={FEED: active_at(last_ping), CALLS: active_at(last_ping)})
    (row,) = entries(cloud)
    assert (row["audience"], row["close"]) == (f"connection/{FEED}", True)
    assert json.loads(row["message"])["data"] == {"within_seconds": 0}
    assert cloud.user()["connection_ids"] == {CALLS}  # it never pinged, so its silence says nothing
    assert cloud.user()["last_seen"] == last_ping * 1000
    (line,) = (each for each in logged.lines if each["message"] == "swept")
    assert line["closed_as_silent"] == 1


def test_a_heartbeat_that_api_gateway_saw_within_a_lease_is_spared_from_then(cloud: Cloud, clock: Clock) -> None:
    pinged(cloud, clock)
    clock.now += LEASE + 1
    seen = int(clock.now) - 100
    sweep(cloud, answers={FEED: active_at(seen)})
    assert entries(cloud) == []
    assert lease(cloud) == seen + LEASE
    clock.now = seen + LEASE + 1
    sweep(cloud, {FEED: Outcome.GONE})
    assert cloud.user()["last_seen"] == seen * 1000


def test_a_connection_that_hears_a_busy_audience_is_not_asked_about(cloud: Cloud, clock: Clock) -> None:
    row = cloud.row("Connections", connection_id=FEED, audience=f"connection/{FEED}") or {}
    clock.now += LEASE + 1
    Served(cloud.dynamodb, "EventsTable").mark([row["wide"]], int(clock.now) - 10)
    sweep(cloud)
    assert asked(cloud) == {CALLS}
    clock.now += LEASE
    sweep(cloud)
    assert asked(cloud) == {FEED}  # CALLS has a longer lease by now


def test_a_connection_that_began_to_watch_is_asked_about_however_busy_everyones_audience_is(
    cloud: Cloud, clock: Clock
) -> None:
    row = cloud.row("Connections", connection_id=FEED, audience=f"connection/{FEED}") or {}
    watch = sample("default.watch")
    watch["requestContext"] |= {"connectionId": FEED, "stage": "feed"}
    cloud.function("default")(watch)
    clock.now += LEASE + 1
    Served(cloud.dynamodb, "EventsTable").mark([row["wide"]], int(clock.now) - 10)
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    assert asked(cloud) == {FEED, CALLS}
    assert cloud.rows("Connections") == []
    assert cloud.user()["last_seen"] < (STORY_BEGINS + 1) * 1000


def test_a_connection_older_than_any_can_be_is_asked_about_whatever_it_hears(cloud: Cloud, clock: Clock) -> None:
    row = cloud.row("Connections", connection_id=FEED, audience=f"connection/{FEED}") or {}
    clock.now += 2 * 3600 + 301
    Served(cloud.dynamodb, "EventsTable").mark([row["wide"]], int(clock.now) - 10)
    sweep(cloud)
    assert FEED in asked(cloud)


def test_the_most_suspicious_are_asked_about_first(cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    pinged(cloud, clock)
    monkeypatch.setattr(session_checks, "MAX_ASKED", 1)
    monkeypatch.setattr(sweeping, "SEGMENTS", 1)
    clock.now += LEASE + 1
    sweep(cloud)
    assert asked(cloud) == {FEED}  # the lease of the other ran out first, but it has no heartbeat
    sweep(cloud)
    assert asked(cloud) == {CALLS}


def test_reading_users_and_calls_stops_when_its_time_is_up_and_the_next_sweep_goes_on(
    cloud: Cloud, clock: Clock
) -> None:
    for number in range(3):
        event = backend_event("call_started")
        event |= {"id": f"call-{number}"}
        event["detail"]["call_id"] = number
        cloud.function("ingest")(event)
    clock.now += 3602
    late = sweeper(FakePoster(), clock=lambda: 50.0)
    found = [late.sweep(int(clock.now * 1000), until=47.0)["calls_expired"] for _ in range(8)]
    assert sum(found) == 3
    assert max(found) == 1  # none is read and left, and no sweep takes longer


# ---- what others are told -------------------------------------------------------------------------------------------


def test_the_message_to_reconnect_has_all_that_broadcast_must_know(cloud: Cloud, clock: Clock) -> None:
    clock.now = RECONNECT_AT
    sweep(cloud)
    entries = {
        entry.audience: entry
        for entry in map(
            read_entry, (row for row in cloud.dynamodb.scan(TableName="EventsTable")["Items"] if "reach" in row)
        )
    }
    entry = entries[f"connection/{FEED}"]
    at_ms = int(RECONNECT_AT) * 1000
    assert replace(entry, message="") == Entry(
        audience=f"connection/{FEED}",
        event_id=make_event_id(at_ms, "reconnect", FEED),
        kind="reconnect",
        message="",
        expires_at_s=at_ms // 1000 + 7200,  # the connection does not live longer
        stage="feed",
        connected_at_ms=STORY_BEGINS * 1000,
    )
    assert entries[f"connection/{CALLS}"].event_id == make_event_id(at_ms, "reconnect", CALLS)


def test_api_gateway_is_asked_by_stage_about_connections_of_known_age(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud)
    asked_about = {
        each.connection_id: (each.stage, each.frames, each.connected_at_s) for each in cloud.poster.deliveries
    }
    assert asked_about == {FEED: ("feed", (), STORY_BEGINS), CALLS: ("calls", (), STORY_BEGINS)}
    assert cloud.poster.until is not None
    assert 0 < cloud.poster.until - time.monotonic() < 60


def test_a_connection_whose_lease_lasts_is_told_to_reconnect_and_is_no_suspect(cloud: Cloud, clock: Clock) -> None:
    connections = Connections(cloud.dynamodb, "ConnectionsTable")
    for connection_id in (FEED, CALLS):
        connections.renew_lease(connection_id, int(RECONNECT_AT) + 60)
    clock.now = RECONNECT_AT
    sweep(cloud)
    assert asked(cloud) == set()
    assert len(entries(cloud)) == 2


def found(logged: LogLines) -> dict[str, Any]:
    """Return the counts of the last sweep."""
    *_, line = (each for each in logged.lines if each["message"] == "swept")
    return line


def test_a_sweep_logs_what_it_found_and_did(cloud: Cloud, clock: Clock, logged: LogLines) -> None:
    for call_id in ("456", "457"):
        event = backend_event("call_started")
        event["detail"] |= {"call_id": call_id}
        cloud.function("ingest")({**event, "id": call_id})
    clock.now = RECONNECT_AT
    sweep(cloud, CallLeaseSeconds=3600)
    counts = {"calls_expired": 2, "users_set_offline": 0, "expired": 0, "told_to_reconnect": 2, "suspects": 2}
    assert found(logged).items() >= {**counts, "delivered": 2}.items()


def test_a_sweep_logs_how_many_tokens_have_expired(cloud: Cloud, clock: Clock, logged: LogLines) -> None:
    clock.now = 4_102_444_801
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    assert found(logged).items() >= {"expired": 2, "told_to_reconnect": 0, "gone": 2}.items()
    assert (found(logged)["calls_expired"], found(logged)["users_set_offline"]) == (0, 0)


def test_a_sweep_logs_how_many_users_it_set_offline(cloud: Cloud, clock: Clock, logged: LogLines) -> None:
    strand(cloud, clock)
    other: dict[str, Any] = {
        "user_id": "7",
        "is_online": True,
        "online_shard": online_shard("7"),
        "left_at": int(clock.now * 1000),
    }
    cloud.dynamodb.put_item(TableName="UsersTable", Item=item(other))
    clock.now += 3600
    sweep(cloud)
    assert found(logged)["users_set_offline"] == 2


@pytest.mark.parametrize(
    ("owner", "method"),
    [(Users, "stranded"), (Calls, "open_since"), (SessionScan, "progress"), (SessionScan, "keep"), (Served, "all")],
)
def test_an_index_or_a_note_that_is_out_of_reach_does_not_stop_the_sweep(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("an index does not answer")

    monkeypatch.setattr(owner, method, fail)
    clock.now = STORY_BEGINS + LEASE + 1
    with pytest.raises(Unavailable, match="an index does not answer"):
        sweep(cloud)
    assert lease(cloud) == lease(cloud, CALLS) == int(clock.now) + LEASE


def test_a_connection_with_an_expired_token_that_cannot_be_closed_is_a_problem(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Unavailable("a table does not answer")

    monkeypatch.setattr(Outbox, "put", fail)
    clock.now = 4_102_444_801
    with pytest.raises(Unavailable, match="a table does not answer"):
        sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})


@pytest.mark.parametrize(("owner", "method"), [(Users, "stranded"), (Calls, "open_since")])
@pytest.mark.parametrize(
    ("problem", "again"), [(Unavailable("throttled"), {"page": "2"}), (Rejected("no such place"), None)]
)
def test_an_index_that_does_not_answer_is_read_on_by_the_next_sweep_and_one_that_refuses_from_its_beginning(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, problem: RealtimeError, again: Cursor
) -> None:
    asked: list[Cursor] = []

    def read(_: object, *given: Any, **__: object) -> tuple[list[Any], Cursor]:
        asked.append(given[-1])
        if len(asked) == 2:
            raise problem
        return [], {"page": "2"} if len(asked) == 1 else None

    monkeypatch.setattr(owner, method, read)
    with pytest.raises(type(problem)):
        sweep(cloud)
    sweep(cloud)
    assert asked == [None, {"page": "2"}, again]


def test_each_part_of_a_sweep_leaves_time_for_the_next(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed, last_read = Clock(1000.0), dict[str, float]()

    def endless(name: str) -> Callable[..., tuple[list[Any], Cursor]]:
        def read(*_: object, **__: object) -> tuple[list[Any], Cursor]:
            elapsed.now += 1
            last_read[name] = elapsed.now
            return [], {"page": "next"}

        return read

    monkeypatch.setattr(Calls, "open_since", endless("calls"))
    monkeypatch.setattr(Users, "stranded", endless("users"))
    monkeypatch.setattr(SessionScan, "sessions_to_check", endless("connections"))
    monkeypatch.setattr(sweeping, "SEGMENTS", 1)
    poster = FakePoster()
    sweeper(poster, clock=elapsed).sweep(int(clock.now * 1000), until=1100.0)
    assert last_read == {"calls": 1010, "users": 1035, "connections": 1075}
    assert poster.until == 1100  # for the questions to API Gateway
