"""A day of a marketplace by each client and on other services: small cases that can be computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from operate.cost import DAYS, SCENARIOS, Cost, read
from operate.cost_clients import (
    DOCUMENTED,
    Client,
    Market,
    floor,
    is_deliverable,
    library,
    minutes,
    month,
    own,
    silent_pings,
    total,
    used,
)
from operate.cost_compare import verdict
from operate.cost_rivals import ABLY_MESSAGES, ably, appsync, delivered, hotsock, published, pusher, rivals, tiered

NOTHING = dict.fromkeys(SCENARIOS, Cost())
QUIET = Market(users=1440, listeners=0.5, sessions=1, minutes=60, watched=0, calls=0, notifications=0)
WATCHING = Client("watching", sockets=1, watches=True, syncs=0)
HEARING_ALL = Client("hearing all", sockets=4, watches=False, syncs=0)


def test_each_change_of_a_listener_goes_to_the_clients_that_are_online_and_watch_it() -> None:
    market = replace(QUIET, watched=12)
    assert market.online == 60
    assert market.watchers == 1  # 60 clients watch 12 each of 720 listeners
    assert market.listener_changes == 1440  # half of the users, coming and going
    assert WATCHING.presence(market) == 1440


def test_a_client_that_watches_nobody_gets_every_change_on_presence_and_those_of_listeners_on_feed_too() -> None:
    assert HEARING_ALL.presence(QUIET) == (2 * 1440 + 1440) * 60


def test_a_call_makes_both_participants_busy_and_then_available() -> None:
    market = replace(QUIET, calls=1)
    assert market.changes - QUIET.changes == 4 * 1440
    assert market.listener_changes - QUIET.listener_changes == 2 * 1440


def test_a_socket_that_hears_nothing_pings_after_each_silence() -> None:
    assert silent_pings(3600, 0, 240) == 15


def test_a_socket_that_hears_often_does_not_ping() -> None:
    assert silent_pings(3600, 3600, 240) == pytest.approx(0, abs=1e-9)


def test_pings_follow_the_silences_between_random_messages() -> None:
    # At one message a silence's length, on average, a silence is that long with the probability 1 / e.
    assert silent_pings(2400, 10, 240) == pytest.approx(10 / (math.e - 1))


def test_documented_clients_ping_on_each_socket_whatever_they_hear() -> None:
    assert DOCUMENTED.pings(QUIET) == 4 * 1440 * 3600 / 30


def test_our_client_pings_after_the_silence_that_its_source_names() -> None:
    assert own().silence_s * 1000 == library("PING_AFTER")


def test_a_session_begins_and_ends_with_four_sockets_or_with_one() -> None:
    four, one = {"four_begin": Cost(writes=30), "four_end": Cost(writes=20)}, {"one_begin": Cost(writes=9)}
    costs = {**NOTHING, **four, **one, "one_end": Cost(writes=8)}
    assert used(costs, QUIET, HEARING_ALL).writes == 50 * 1440
    assert used(costs, QUIET, WATCHING).writes == 17 * 1440
    assert minutes(QUIET, HEARING_ALL) == 4 * minutes(QUIET, WATCHING) == 4 * 60 * 1440


def test_a_session_that_watches_writes_for_each_watched_user_as_it_begins_and_as_it_ends() -> None:
    without = {"one_begin": Cost(writes=9), "one_end": Cost(writes=8)}
    costs = {**NOTHING, **without, "watching_begin": Cost(writes=20), "watching_end": Cost(writes=18)}
    assert used(costs, replace(QUIET, watched=20), WATCHING).writes == (9 + 8 + 2 * (11 + 10)) * 1440


def test_the_floor_is_messages_and_connection_minutes_alone() -> None:
    costs = {**NOTHING, "one_begin": Cost(writes=1000), "notification": Cost(messages=1)}
    market = replace(QUIET, notifications=2)
    assert floor(costs, market, WATCHING) == pytest.approx((2 * 1440 + 60 * 1440 * 0.25) * DAYS / 1e6)
    assert total(month(costs, market, WATCHING)) > floor(costs, market, WATCHING)


def test_the_quota_bounds_how_many_can_hear_everybody() -> None:
    assert is_deliverable(Market(users=10_000), DOCUMENTED)
    assert not is_deliverable(Market(users=100_000), DOCUMENTED)
    assert is_deliverable(Market(users=1_000_000), own())


def test_tiers_are_priced_one_after_another() -> None:
    assert tiered(120, ABLY_MESSAGES) == pytest.approx(282.50), "Ably's own example"
    assert tiered(49, ABLY_MESSAGES) == pytest.approx(122.50)


def test_rivals_count_what_is_published_and_what_is_delivered() -> None:
    market = replace(QUIET, watched=12, calls=1, notifications=3)
    assert published(market) == market.listener_changes + 1440 * (2 + 3)
    assert delivered(market) == market.listener_changes * market.watchers + 1440 * (4 + 3)


def test_appsync_takes_operations_and_minutes() -> None:
    operations = 1440 * 2 + 1440  # to connect and to subscribe to one's own channel; each change is published
    assert appsync(QUIET) == pytest.approx((operations + 60 * 1440 * 0.08) * DAYS / 1e6)


def test_ably_takes_the_package_that_holds_the_channels_and_connections() -> None:
    few, more, most = (ably(replace(QUIET, users=users, minutes=1)) for users in (1_000, 40_000, 200_000))
    assert few is not None
    assert 29 <= few < 399
    assert more is not None
    assert more >= 399
    assert most is None


def test_pusher_takes_the_cheapest_plan_that_holds_twice_the_average_connections() -> None:
    assert pusher(replace(QUIET, users=1_000)) == 0  # 42 online
    assert pusher(replace(QUIET, users=2_400)) == 49  # 100 online, 200 at the busiest time
    assert pusher(replace(QUIET, users=1_000_000)) is None


def test_hotsock_is_its_licence_and_the_floor_at_least() -> None:
    assert hotsock(NOTHING)(QUIET) == 99 + floor(NOTHING, QUIET, own())


def test_every_rival_names_its_source_and_what_it_lacks() -> None:
    for each in rivals(read()):
        assert each.source, each.name
        assert each.lacks, each.name
        assert each.counts, each.name


def test_the_page_says_who_is_cheaper() -> None:
    (small, *_, large) = verdict(read(), Market())
    assert small.startswith("- 1,000 users: ")
    assert large.startswith("- 100,000 users: ")
