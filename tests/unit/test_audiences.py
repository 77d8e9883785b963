from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import audiences
from realtime.messages import ENDPOINTS


@pytest.mark.parametrize(
    ("endpoint", "heard"),
    [
        ("feed", {"feed/*/{shard}"}),
        ("presence", {"presence/*/{shard}"}),
        ("calls", {"calls/123"}),
        ("notifications", {"notifications/123", "notifications/*/{shard}"}),
    ],
)
def test_the_initial_audiences_follow_from_the_endpoint(endpoint: str, heard: set[str]) -> None:
    found = audiences.initial_audiences(endpoint, "123", "RfGx1dQAIAMCIhA=", 1)
    assert set(found) == {each.format(shard=0) for each in heard}
    assert len(found) == len(heard)


@given(st.sampled_from(ENDPOINTS), st.text(min_size=1), st.integers(1, 64))
def test_every_subscribed_wide_audience_is_one_that_events_are_recorded_for(
    endpoint: str, connection_id: str, shards: int
) -> None:
    wide = [each for each in audiences.initial_audiences(endpoint, "123", connection_id, shards) if "/*/" in each]
    assert set(wide) <= set(audiences.everyone(endpoint, shards))


@given(st.sampled_from(ENDPOINTS), st.text(min_size=1), st.integers(1, 64))
def test_audiences_beside_a_wide_one_are_the_initial_ones(endpoint: str, connection_id: str, shards: int) -> None:
    heard = audiences.initial_audiences(endpoint, "123", connection_id, shards)
    for wide in filter(audiences.is_wide, heard):
        beside = audiences.audiences_beside(wide, "123", connection_id)
        assert sorted(beside) == sorted([audiences.direct(connection_id), *heard])


def test_connections_are_spread_evenly_over_the_shards() -> None:
    shards = Counter(audiences.initial_audiences("feed", "1", f"connection-{n}=", 4)[0] for n in range(4000))
    assert set(shards) == set(audiences.everyone("feed", 4))
    assert min(shards.values()) > 800


def test_a_connection_keeps_its_shard() -> None:
    assert audiences.initial_audiences("feed", "1", "RfGx1dQAIAMCIhA=", 4) == audiences.initial_audiences(
        "feed", "2", "RfGx1dQAIAMCIhA=", 4
    )


@given(st.text())
def test_the_audience_of_one_connection_contains_its_id(connection_id: str) -> None:
    assert audiences.connection_of(audiences.direct(connection_id)) == connection_id


@pytest.mark.parametrize("audience", ["calls/123", "feed/*/0", "connections/1"])
def test_other_audiences_contain_no_connection(audience: str) -> None:
    assert audiences.connection_of(audience) is None


@pytest.mark.parametrize(
    ("endpoints", "watched", "expected"),
    [
        (ENDPOINTS, [], ["live/5", "live/*/0"]),
        (["calls"], [], ["live/5"]),
        (["feed"], [], ["live/*/0"]),
        (["calls", "notifications"], [], ["live/5", "live-notifications/*/0"]),
        (ENDPOINTS, ["7", "8"], ["live/5", "watched/7", "watched/8", "live-notifications/*/0"]),
        (["presence"], ["7"], ["watched/7"]),
    ],
)
def test_one_connection_for_several_endpoints_has_few_audiences(
    endpoints: list[str], watched: list[str], expected: list[str]
) -> None:
    assert audiences.initial_audiences("live", "5", "one=", 1, watched, endpoints) == expected


@given(st.sets(st.sampled_from(ENDPOINTS), min_size=1), st.lists(st.sampled_from("78"), unique=True))
def test_one_connection_hears_what_those_of_its_endpoints_hear(endpoints: set[str], watched: list[str]) -> None:
    separate: set[str] = set()
    for endpoint in endpoints:
        is_watching = watched if endpoint in {"feed", "presence"} else []
        separate |= set(audiences.initial_audiences(endpoint, "5", "one=", 4, is_watching))
    watched = watched if {"feed", "presence"} & endpoints else []
    together = audiences.initial_audiences("live", "5", "one=", 4, watched, endpoints)
    heard = list(audiences.heard_through(together, endpoints))
    assert set(heard) == separate
    assert len(heard) == len(separate)
    for audience in heard:  # and `broadcast` finds it, once
        assert len(set(audiences.subscribed_for(audience)) & set(together)) == 1


@pytest.mark.parametrize(
    ("subscribed", "presence"),
    [
        *((each, True) for each in ("feed/*/0", "presence/7", "watched/7", "live/*/0")),
        *(
            (each, False)
            for each in ("live/7", "live-notifications/*/0", "notifications/*/0", "calls/7", "connection/7")
        ),
    ],
)
def test_some_subscriptions_bring_presence(subscribed: str, presence: bool) -> None:
    assert audiences.brings_presence(subscribed) is presence
    heard = audiences.heard_through([subscribed], ENDPOINTS)
    assert any(map(audiences.is_presence, heard)) is presence


@pytest.mark.parametrize(
    ("subscribed", "watching"),
    [
        *((each, True) for each in ("feed/7", "presence/7", "watched/7")),
        *((each, False) for each in ("feed/*/0", "live/*/0", "live/7", "calls/7", "connection/7", "watched")),
    ],
)
def test_some_subscriptions_are_to_a_watched_user(subscribed: str, watching: bool) -> None:
    assert audiences.is_watching(subscribed) is watching


@pytest.mark.parametrize(
    ("subscribed", "listing"),
    [
        *((each, "user/7") for each in ("calls/7", "notifications/7", "live/7")),
        *((each, "watched/7") for each in ("feed/7", "presence/7", "watched/7")),
        *((each, each) for each in ("feed/*/0", "live/*/0", "notifications/*/0", "live-notifications/*/3")),
    ],
)
def test_the_subscribers_of_all_audiences_about_one_user_are_listed_together(subscribed: str, listing: str) -> None:
    assert audiences.listing_of(subscribed) == listing
    assert audiences.listing_of(listing) == listing


@given(st.sampled_from(ENDPOINTS))
def test_one_read_finds_all_who_hear_of_an_event_about_one_user(endpoint: str) -> None:
    assert len(set(map(audiences.listing_of, audiences.subscribed_for(f"{endpoint}/5")))) == 1


@given(st.sampled_from(ENDPOINTS), st.integers(1, 64))
def test_the_connections_of_one_endpoint_hear_what_they_subscribe_to(endpoint: str, shards: int) -> None:
    subscribed = audiences.initial_audiences(endpoint, "5", "one=", shards)
    assert list(audiences.heard_through(subscribed, {endpoint})) == subscribed
    for audience in subscribed:
        assert audiences.subscribed_for(audience)[0] == audience
