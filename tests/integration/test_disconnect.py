"""disconnect, from API Gateway's event to the rows."""

from __future__ import annotations

import pytest

from tests.logs import LogLines
from tests.samples import names, sample
from tests.support.cloud import Cloud
from tests.unit.fakes import Clock

FEED, CALLS = "RfGx1dQAIAMCIhA=", "RfGx7cN9IAMCKtw="


@pytest.mark.parametrize("name", names("disconnect"))
def test_every_trace_of_a_connection_is_removed(cloud: Cloud, name: str) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    assert cloud.function("disconnect")(sample(name)) == {"statusCode": 200}
    assert cloud.rows("Connections") == []
    assert "connection_ids" not in cloud.user()


def test_the_user_stays_online_until_the_grace_period_is_over(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    before = cloud.user()
    clock.now += 90
    cloud.function("disconnect")(sample("disconnect"))
    now = int(clock.now * 1000)
    assert cloud.user() == {
        **{name: value for name, value in before.items() if name != "connection_ids"},
        "left_at": now,
        "trace_id": "RfHOgHqhoAMFXzg=",
        "last_seen": now,
    }
    assert cloud.user()["is_online"] is True


def test_the_sample_of_leaving_is_what_disconnecting_writes(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    cloud.stream("Users")
    clock.now += 89.6
    cloud.function("disconnect")(sample("disconnect"))
    (record,) = cloud.stream("Users")
    shown = sample("announce.last-connection-left")["Records"][0]["dynamodb"]
    assert record["dynamodb"]["NewImage"] == shown["NewImage"]
    assert record["dynamodb"]["OldImage"] == shown["OldImage"]


def test_the_users_other_connections_stay(cloud: Cloud) -> None:
    for name in ("connect.token-in-query", "connect.token-in-header"):
        cloud.function("connect")(sample(name))
    cloud.function("disconnect")(sample("disconnect"))
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {CALLS}
    assert cloud.user()["connection_ids"] == {CALLS}


def test_a_second_or_late_disconnect_changes_nothing(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    disconnect = cloud.function("disconnect")
    disconnect(sample("disconnect"))
    before = cloud.user()
    clock.now += 5
    assert disconnect(sample("disconnect")) == {"statusCode": 200}
    assert cloud.user() == before


def test_a_refused_connection_leaves_no_user_behind(cloud: Cloud, logged: LogLines) -> None:
    assert cloud.function("disconnect")(sample("disconnect")) == {"statusCode": 200}
    assert cloud.rows("Users") == []
    (line,) = logged.lines
    assert (line["connection_id"], line["stage"], line["status_code"]) == (FEED, "feed", 1001)
