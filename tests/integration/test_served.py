"""The marks that say when wide audiences were served."""

from __future__ import annotations

import pytest

from realtime.tables.served import BUSY_GAP_SECONDS, MARKED_EVERY_SECONDS, Served, Service
from tests.logs import LogLines
from tests.support.cloud import Cloud

NOW = 1_705_314_600
FEED = "feed/*/0"


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
