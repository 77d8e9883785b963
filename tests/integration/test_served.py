"""The marks that say when wide audiences were served."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.errors import ConfigurationError
from realtime.tables.served import BUSY_GAP_SECONDS, MARKED_EVERY_SECONDS, Served, Service
from tests.logs import LogLines
from tests.support.cloud import Cloud
from tests.unit.fakes import as_client, aws_error

NOW = 1_705_314_600
FEED = "feed/*/0"


class Failing:
    """DynamoDB, whose writes may fail."""

    def __init__(self, cloud: Cloud) -> None:
        self.fails = False
        self._client = cloud.dynamodb

    def query(self, **request: Any) -> Any:
        return self._client.query(**request)

    def update_item(self, **request: Any) -> Any:
        if self.fails:
            raise aws_error("ThrottlingException")
        return self._client.update_item(**request)


@pytest.fixture
def served(cloud: Cloud) -> Served:
    return Served(cloud.dynamodb, "EventsTable")


def test_each_audience_has_its_own_mark(served: Served) -> None:
    served.mark(["feed/*/0", "feed/*/1"], NOW)
    served.mark(["feed/*/1"], NOW + 40)
    assert served.all() == {"feed/*/0": Service(NOW, NOW), "feed/*/1": Service(NOW + 40, NOW)}


def test_an_instance_writes_a_mark_only_now_and_then(cloud: Cloud, served: Served) -> None:
    for seconds in range(MARKED_EVERY_SECONDS):
        served.mark([FEED], NOW + seconds)
    assert served.all() == {FEED: Service(NOW, NOW)}
    served.mark([FEED], NOW + MARKED_EVERY_SECONDS)
    assert served.all() == {FEED: Service(NOW + MARKED_EVERY_SECONDS, NOW)}


def test_an_audience_is_busy_while_it_is_served_often_enough(cloud: Cloud, served: Served) -> None:
    for at in (NOW, NOW + BUSY_GAP_SECONDS, NOW + 2 * BUSY_GAP_SECONDS):
        served.mark([FEED], at)
    assert served.all()[FEED].busy_since_s == NOW
    later = NOW + 3 * BUSY_GAP_SECONDS + 1
    served.mark([FEED], later)
    assert served.all() == {FEED: Service(later, later)}


def test_a_mark_of_another_instance_that_was_later_stays(cloud: Cloud, served: Served) -> None:
    Served(cloud.dynamodb, "EventsTable").mark([FEED], NOW + 2)
    served.mark([FEED], NOW)
    assert served.all() == {FEED: Service(NOW + 2, NOW + 2)}


def test_a_mark_that_fails_is_logged_and_nothing_else(cloud: Cloud, logged: LogLines) -> None:
    Served(cloud.dynamodb, "Nowhere").mark([FEED], NOW)
    (line,) = logged.lines
    assert (line["level"], line["message"]) == ("WARNING", "cannot note what was served")
    assert "ResourceNotFoundException" in line["reason"]


def test_a_mark_that_failed_is_written_the_next_time(cloud: Cloud) -> None:
    client = Failing(cloud)
    served = Served(as_client(client), "EventsTable")
    client.fails = True
    served.mark(["feed/*/0", "feed/*/1"], NOW)
    assert served.all() == {}
    client.fails = False
    served.mark(["feed/*/0", "feed/*/1"], NOW + 1)
    assert served.all() == dict.fromkeys(["feed/*/0", "feed/*/1"], Service(NOW + 1, NOW + 1))


def test_a_mark_lapses_an_hour_after_the_audience_was_served_last(cloud: Cloud, served: Served) -> None:
    for at in (NOW, NOW + MARKED_EVERY_SECONDS):
        served.mark([FEED], at)
        (row,) = cloud.rows("Events")
        assert row["expires_at"] == at + 3600


def test_many_marks_are_read_over_all_pages_as_of_now(cloud: Cloud, served: Served) -> None:
    class SmallPages:
        def query(self, **request: Any) -> Any:
            return cloud.dynamodb.query(**request, Limit=2) if request["ConsistentRead"] else {"Items": []}

    audiences = [f"feed/*/{number}" for number in range(5)]
    served.mark(audiences, NOW)
    assert Served(as_client(SmallPages()), "EventsTable").all() == dict.fromkeys(audiences, Service(NOW, NOW))


def test_an_error_says_what_was_being_done(logged: LogLines) -> None:
    class Broken:
        def query(self, **_: Any) -> None:
            raise aws_error("AccessDeniedException")

        def update_item(self, **_: Any) -> None:
            raise aws_error("AccessDeniedException")

    served = Served(as_client(Broken()), "EventsTable")
    with pytest.raises(ConfigurationError, match="reading which audiences were served: AccessDeniedException"):
        served.all()
    served.mark([FEED], NOW)
    (line,) = logged.lines
    assert "noting that an audience was served: AccessDeniedException" in line["reason"]
