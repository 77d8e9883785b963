from __future__ import annotations

import os

import pytest

from realtime.tables.views import Head, Made, Views
from tests.support.cloud import Cloud

NAME = "presence/*/0"
NOW = 1_705_314_600_000
UNTIL = NOW + 3000


@pytest.fixture
def views(cloud: Cloud) -> Views:
    return Views(cloud.dynamodb, "EventsTable")


def test_a_view_that_nobody_made_has_no_head(views: Views) -> None:
    assert views.head(NAME) is None


def test_one_instance_at_a_time_may_make_a_view(views: Views) -> None:
    assert views.claim(NAME, "base", NOW, UNTIL)
    assert not views.claim(NAME, "base", NOW + 1, UNTIL + 1)
    assert not views.claim(NAME, "base", UNTIL, UNTIL + 3000)
    assert views.claim(NAME, "base", UNTIL + 1, UNTIL + 3000)


def test_what_was_made_is_shown_and_the_claim_is_over(views: Views) -> None:
    base, step, tail = Made("a", NOW, 2), Made("s", NOW, 1), Made("b", NOW + 1000, 1)
    views.claim(NAME, "base", NOW, UNTIL)
    assert views.publish_base(NAME, 500, base, step, "before", UNTIL)
    views.claim(NAME, "tail", NOW + 1000, UNTIL + 1000)
    assert views.publish_tail(NAME, tail, UNTIL + 1000)
    assert views.head(NAME) == Head(500, base, step, "before", tail, claimed_until_ms=0, claimed_at_ms=NOW + 1000)


def test_a_new_base_has_no_tail_and_perhaps_no_step(views: Views) -> None:
    views.claim(NAME, "base", NOW, UNTIL)
    views.publish_base(NAME, 500, Made("a", NOW, 2), Made("s", NOW, 1), "before", UNTIL)
    views.claim(NAME, "tail", NOW, UNTIL)
    views.publish_tail(NAME, Made("b", NOW, 1), UNTIL)
    views.claim(NAME, "base", NOW, UNTIL)
    views.publish_base(NAME, 500, base := Made("c", NOW + 5000, 1), None, "", UNTIL)
    head = views.head(NAME)
    assert head is not None
    assert (head.base, head.step, head.tail, head.begun_ms) == (base, None, None, NOW + 5000)


def test_what_was_made_under_a_claim_that_was_lost_is_not_shown(views: Views) -> None:
    views.claim(NAME, "base", NOW, UNTIL)
    views.claim(NAME, "base", UNTIL + 1, UNTIL + 5000)
    assert not views.publish_base(NAME, 500, Made("a", NOW, 1), None, "", UNTIL)
    views.claim(NAME, "tail", NOW, UNTIL)
    views.claim(NAME, "tail", UNTIL + 1, UNTIL + 5000)
    assert not views.publish_tail(NAME, Made("a", NOW, 1), UNTIL)
    untouched = Head(base_claimed_until_ms=UNTIL + 5000, claimed_until_ms=UNTIL + 5000, claimed_at_ms=UNTIL + 1)
    assert views.head(NAME) == untouched


def test_a_base_and_a_tail_may_be_made_at_the_same_time_but_a_new_base_ends_the_claim_of_a_tail(views: Views) -> None:
    assert views.claim(NAME, "base", NOW, UNTIL)
    assert views.claim(NAME, "tail", NOW + 1, UNTIL + 1)
    assert views.publish_base(NAME, 500, base := Made("a", NOW, 1), None, "", UNTIL)
    assert not views.publish_tail(NAME, Made("b", NOW + 1, 1), UNTIL + 1)
    assert views.head(NAME) == Head(500, base, claimed_at_ms=NOW + 1)
    assert views.claim(NAME, "tail", NOW + 2, UNTIL)


def test_whoever_waits_can_say_so(views: Views) -> None:
    views.wait_for(NAME, NOW)
    assert views.head(NAME) is None, "nobody makes it"
    views.claim(NAME, "base", NOW, UNTIL)
    views.wait_for(NAME, NOW + 5)
    assert views.head(NAME) == Head(base_claimed_until_ms=UNTIL, claimed_at_ms=NOW, awaited_at_ms=NOW + 5)


def test_a_claim_can_be_given_up_and_the_users_are_noted(views: Views) -> None:
    views.claim(NAME, "base", NOW, UNTIL)
    views.release(NAME, "base", UNTIL, 300)
    assert views.head(NAME) == Head(300, claimed_until_ms=0, claimed_at_ms=NOW)
    assert views.claim(NAME, "base", NOW + 1, UNTIL)
    views.release(NAME, "base", UNTIL)  # by a maker that failed
    assert views.head(NAME) == Head(300, claimed_until_ms=0, claimed_at_ms=NOW + 1)


@pytest.mark.parametrize(("size", "parts"), [(0, 1), (1, 1), (50_000, 1), (50_001, 2), (125_000, 3)])
def test_rows_of_any_size_are_read_as_they_were_written(views: Views, size: int, parts: int) -> None:
    rows = os.urandom(size)
    made = views.write(rows, NOW)
    assert (made.begun_ms, made.parts) == (NOW, parts)
    assert views.read(made) == rows


def test_rows_of_which_a_part_is_missing_cannot_be_read(views: Views) -> None:
    made = views.write(b"rows", NOW)
    assert views.read(Made(made.view_id, NOW, 2)) is None


def test_two_makings_do_not_share_rows(views: Views) -> None:
    one, other = views.write(b"one", NOW), views.write(b"other", NOW)
    assert (views.read(one), views.read(other)) == (b"one", b"other")


def test_the_stream_shows_broadcast_nothing_of_a_view(cloud: Cloud, views: Views) -> None:
    views.claim(NAME, "base", NOW, UNTIL)
    views.publish_base(NAME, 1, views.write(b"rows", NOW), None, "", UNTIL)
    assert all("reach" not in record["dynamodb"]["NewImage"] for record in cloud.stream("Events"))


def test_rows_are_deleted_ten_minutes_after_their_making_began(views: Views, cloud: Cloud) -> None:
    views.write(os.urandom(150_000), NOW)
    expiries = {row["expires_at"] for row in cloud.rows("Events")}
    assert expiries == {NOW // 1000 + 600}
