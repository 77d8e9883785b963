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
def test_the_endpoint_decides_the_audiences_of_a_connection(endpoint: str, heard: set[str]) -> None:
    found = audiences.initial_audiences(endpoint, "123", "RfGx1dQAIAMCIhA=", 1)
    assert set(found) == {each.format(shard=0) for each in heard}
    assert len(found) == len(heard)


@given(st.sampled_from(ENDPOINTS), st.text(min_size=1), st.integers(1, 64))
def test_events_are_recorded_for_every_wide_audience_that_a_connection_hears(
    endpoint: str, connection_id: str, shards: int
) -> None:
    wide = [each for each in audiences.initial_audiences(endpoint, "123", connection_id, shards) if "/*/" in each]
    assert set(wide) <= set(audiences.everyone(endpoint, shards))


@given(st.sampled_from(ENDPOINTS), st.text(min_size=1), st.integers(1, 64))
def test_a_wide_audience_determines_all_audiences_of_its_connection(
    endpoint: str, connection_id: str, shards: int
) -> None:
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
def test_other_audiences_are_no_connections(audience: str) -> None:
    assert audiences.connection_of(audience) is None
