"""sweep, from a minute's event to what it sets right."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from realtime import sweep as sweeping
from realtime.aws import clients
from realtime.errors import ConfigurationError, Rejected, Unavailable
from realtime.posting.delivery import Outcome
from realtime.tables.users import Users
from tests.logs import LogLines
from tests.samples import KEY_ID, SECRET, backend_event, sample
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


def sweep(cloud: Cloud, outcomes: dict[str, Outcome] | None = None, **parameters: object) -> None:
    cloud.poster = FakePoster(outcomes)
    assert cloud.function("sweep", **parameters)(sample("sweep")) is None


def asked(cloud: Cloud) -> set[str]:
    """Return the connections that API Gateway was asked about."""
    assert all(each.ask and not each.frames and not each.close for each in cloud.poster.deliveries)
    return {each.connection_id for each in cloud.poster.deliveries}


def token(expires_at: float) -> str:
    claims = {"sub": "123", "username": "jane_smith", "role": "listener", "exp": int(expires_at)}
    return jwt.encode(claims, SECRET, headers={"kid": KEY_ID})


def lease(cloud: Cloud, connection_id: str = FEED) -> int:
    row = cloud.row("Connections", connection_id=connection_id, audience=f"connection/{connection_id}") or {}
    until: int = row["lease_until"]
    return until


def test_nobody_is_suspected_while_their_lease_lasts(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE
    sweep(cloud)
    assert asked(cloud) == set()


def test_a_suspect_that_lives_is_believed_for_another_lease(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud)
    assert asked(cloud) == {FEED, CALLS}
    assert lease(cloud) == lease(cloud, CALLS) == int(clock.now) + LEASE
    assert cloud.user()["connection_ids"] == {FEED, CALLS}
    assert cloud.rows("Events") == []


def test_a_ghost_is_forgotten(cloud: Cloud, clock: Clock, logged: LogLines) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: Outcome.GONE})
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {CALLS}
    assert cloud.user()["connection_ids"] == {CALLS}
    (line,) = (each for each in logged.lines if each["message"] == "swept")
    assert (line["suspects"], line["gone"], line["delivered"]) == (2, 1, 1)


@pytest.mark.parametrize(
    "outcome", [Outcome.THROTTLED, Outcome.FAILED, Outcome.NOT_TRIED, Outcome.NOT_YET_OPEN, Outcome.CLOSED]
)
def test_nobody_is_killed_on_suspicion(cloud: Cloud, clock: Clock, outcome: Outcome) -> None:
    before = cloud.rows("Connections"), cloud.rows("Users")
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: outcome, CALLS: outcome})
    assert (cloud.rows("Connections"), cloud.rows("Users")) == before


def test_a_ghosts_user_goes_offline_as_any_other(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    cloud.function("announce", GracePeriodSeconds=0)({"Records": cloud.stream("Users")[1:]})
    (message,) = cloud.messages("Deadlines")
    event = sample("deadlines.offline")
    event["Records"][0]["body"] = message["Body"]
    cloud.function("deadlines")(event)
    assert cloud.user()["is_online"] is False


def test_a_missing_right_fails_aloud(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + LEASE + 1
    with pytest.raises(ConfigurationError, match="the role of sweep may not ask"):
        sweep(cloud, {FEED: Outcome.FORBIDDEN})


def test_a_connection_that_outlives_what_is_allowed_is_told_to_reconnect_and_closed(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + 2 * 3600 + 301
    sweep(cloud)
    farewells = {row["audience"]: row for row in cloud.rows("Events")}
    assert set(farewells) == {f"connection/{FEED}", f"connection/{CALLS}"}
    for row in farewells.values():
        assert row["close"] is True
        assert json.loads(row["message"])["type"] == "reconnect"
    assert lease(cloud) > clock.now  # so that it is not asked about, and told, each minute


MOVE_AT = STORY_BEGINS + 110 * 60


def test_a_connection_is_told_once_to_move_before_api_gateway_ends_it(cloud: Cloud, clock: Clock) -> None:
    clock.now = MOVE_AT - 1
    sweep(cloud)
    assert cloud.rows("Events") == []
    for clock.now in (MOVE_AT, MOVE_AT + 60, MOVE_AT + 120):
        sweep(cloud)
    told = {each["audience"]: each for each in cloud.rows("Events")}
    assert told.keys() == {f"connection/{FEED}", f"connection/{CALLS}"}
    for row in told.values():
        message = json.loads(row["message"])
        assert (message["type"], message["data"]) == ("reconnect", {"within_seconds": 300})
        assert "close" not in row
    # Where an item does not change, DynamoDB's stream shows nothing; moto's does.
    assert len({json.dumps(each["dynamodb"]["NewImage"]) for each in cloud.stream("Events")}) == 2


def test_who_was_not_told_in_time_is_not_told_late(cloud: Cloud, clock: Clock) -> None:
    """There would be less time to move than it says."""
    clock.now = MOVE_AT + 181
    sweep(cloud)
    assert cloud.rows("Events") == []


@pytest.mark.usefixtures("jwt_clock")
def test_a_connection_whose_token_has_expired_is_told_so_and_closed(cloud: Cloud, clock: Clock) -> None:
    assert cloud.function("default")(
        {
            **sample("default.ping"),
            "body": json.dumps({"type": "authenticate", "data": {"token": token(STORY_BEGINS + 600)}}),
        }
    )
    clock.now = STORY_BEGINS + 600
    sweep(cloud)
    assert cloud.rows("Events") == []
    clock.now += 1
    sweep(cloud)
    (row,) = cloud.rows("Events")
    assert (row["audience"], row["close"]) == (f"connection/{FEED}", True)
    message = json.loads(row["message"])
    assert (message["type"], message["data"]["code"]) == ("error", "AUTH_FAILED")


def test_a_ghost_whose_token_has_expired_is_forgotten_as_any_other(cloud: Cloud, clock: Clock) -> None:
    clock.now = 4_102_444_801
    sweep(cloud, {FEED: Outcome.GONE, CALLS: Outcome.GONE})
    assert cloud.rows("Connections") == []


def test_a_sweep_goes_on_where_the_last_one_had_to_stop(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "SEGMENTS", 1)
    monkeypatch.setattr(sweeping, "MAX_SESSIONS", 1)
    scan = cloud.dynamodb.scan
    monkeypatch.setattr(cloud.dynamodb, "scan", lambda **request: scan(**request, Limit=2))
    clock.now = STORY_BEGINS + LEASE + 1
    found: list[set[str]] = []
    for _ in range(3):
        sweep(cloud, {FEED: Outcome.THROTTLED, CALLS: Outcome.THROTTLED})  # so that they stay suspects
        found.append(asked(cloud))
    assert found[0] | found[1] == {FEED, CALLS}
    assert found[2] == found[0] or not found[2]  # it begins anew, or comes to the end first


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
    clock.now += 10 + 301
    sweep(cloud, GracePeriodSeconds=10)
    assert cloud.user()["is_online"] is False
    assert cloud.user()["version"] == 3


def test_but_not_while_the_check_may_still_come(cloud: Cloud, clock: Clock) -> None:
    strand(cloud, clock)
    clock.now += 10 + 299
    sweep(cloud, GracePeriodSeconds=10)
    assert cloud.user()["is_online"] is True


def test_a_user_who_is_connected_is_left_alone(cloud: Cloud, clock: Clock) -> None:
    before = cloud.user()
    clock.now += 3600
    sweep(cloud)
    assert cloud.user() == before


def test_connections_older_than_any_can_be_are_taken_from_their_user(cloud: Cloud, clock: Clock) -> None:
    """Should their rows be lost, nobody would ask about them."""
    for row in cloud.rows("Connections"):
        key = {name: {"S": row[name]} for name in ("connection_id", "audience")}
        cloud.dynamodb.delete_item(TableName="ConnectionsTable", Key=key)
    clock.now += 2 * 3600 + 301
    sweep(cloud)
    assert "connection_ids" not in cloud.user()
    assert cloud.user()["is_online"] is True  # until the check that follows


# ---- what fails -----------------------------------------------------------------------------------------------------


def test_a_user_who_cannot_be_set_offline_keeps_nothing_else_from_being_swept(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    strand(cloud, clock)
    event = sample("connect.token-in-query")
    event["requestContext"]["connectionId"] = "ghost="
    cloud.function("ingest")(backend_event("call_started"))
    cloud.function("connect")(event)
    clock.now += 2 * 3600 + 301

    def never(self: Users, user_id: str, connection_id: str, now: int) -> None:
        raise Rejected("updating a user: ValidationException")

    with monkeypatch.context() as broken:
        broken.setattr(Users, "leave", never)
        with pytest.raises(Rejected):
            sweep(cloud, {"ghost=": Outcome.DELIVERED}, CallLeaseSeconds=3600)
    assert asked(cloud) == {"ghost="}
    assert "busy_calls" not in cloud.user()
    assert any(row["kind"] == "reconnect" for row in cloud.rows("Events") if "kind" in row)


def test_a_scan_that_is_throttled_is_gone_on_with_by_the_next_sweep(
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


def test_a_call_whose_end_never_came_is_let_go(cloud: Cloud, clock: Clock) -> None:
    cloud.function("ingest")(backend_event("call_started"))
    clock.now += 3600 - 1
    sweep(cloud, CallLeaseSeconds=3600)
    assert cloud.user()["busy_calls"] == {"456"}
    clock.now += 2
    sweep(cloud, CallLeaseSeconds=3600)
    assert "busy_calls" not in cloud.user("123")
    assert "busy_calls" not in cloud.user("789")


def test_its_end_may_still_come(cloud: Cloud, clock: Clock) -> None:
    cloud.function("ingest")(backend_event("call_started"))
    clock.now += 3602
    sweep(cloud, CallLeaseSeconds=3600)
    cloud.function("ingest")(backend_event("call_ended"))
    assert [row["kind"] for row in cloud.rows("Events") if row["audience"] == "calls/123"] == [
        "call_started",
        "call_ended",
    ]
