"""The gateway's settings, and its rate limits."""

from __future__ import annotations

from typing import Any

import pytest

from samsocket.settings import Settings, TokenBucket


def test_the_defaults_are_api_gateways_quotas() -> None:
    settings = Settings()
    assert (settings.idle_timeout, settings.max_age, settings.connects_per_second) == (600, 7_200, 500)
    assert (settings.requests_per_second, settings.requests_burst) == (10_000, 5_000)


@pytest.mark.parametrize(
    "changes",
    [{"idle_timeout": 0}, {"idle_timeout": "1"}, {"max_age": -1}, {"withhold_disconnect": 1}, {"buffer_bytes": True}],
)
def test_a_value_that_means_nothing_is_refused_by_its_name(changes: dict[str, Any]) -> None:
    settings = Settings()
    with pytest.raises(ValueError, match=next(iter(changes))):
        settings.update(changes)
    assert settings == Settings()


def test_an_unknown_setting_changes_nothing() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="unknown setting colour"):
        settings.update({"idle_timeout": 5, "colour": "blue"})
    assert settings == Settings()


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]
