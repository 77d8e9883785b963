"""The account's quotas compared with the stack's settings."""

from __future__ import annotations

import pytest

from operate.verify.quotas import (
    CONCURRENCY,
    Judgement,
    find,
    find_connections,
    judge_concurrency,
    judge_connections,
    judge_requests,
    judge_throughput,
)

FINE, WARNED, FAILED = "fine", "warned", "failed"


def verdict(judgement: Judgement) -> str:
    return FAILED if judgement.fails else WARNED if judgement.advice else FINE


@pytest.mark.parametrize(
    ("quota", "posts", "shards", "expected"),
    [
        (10_000, 1_000, 4, FINE),
        (10_000, 2_500, 4, FINE),
        (10_000, 5_000, 4, WARNED),
        (2_500, 2_500, 1, FINE),
        (2_500, 2_501, 1, FAILED),
    ],
)
def test_posts_are_compared_with_the_accounts_request_quota(quota: int, posts: int, shards: int, expected: str) -> None:
    judgement = judge_requests(quota, posts, shards)
    assert verdict(judgement) == expected
    assert ("PostsPerSecond" in judgement.advice) is (expected == FAILED)


@pytest.mark.parametrize(
    ("quota", "ingest", "expected"),
    [(1_000, 16, FINE), (99, 16, WARNED), (31, 16, FAILED), (10, 16, FAILED), (100, 100, FAILED)],
)
def test_ingest_is_compared_with_lambdas_concurrency(quota: int, ingest: int, expected: str) -> None:
    assert verdict(judge_concurrency(quota, ingest)) == expected


def test_the_report_says_how_long_a_reconnect_of_all_clients_takes() -> None:
    assert "13 min" in judge_connections(500).says


@pytest.mark.parametrize(
    ("place", "setting", "expected"),
    [
        ("arn:aws:secretsmanager:us-east-1:123456789012:secret:keys", "", FINE),
        ("/realtime/token-keys", "true", FINE),
        ("/realtime/token-keys", "false", WARNED),
    ],
)
def test_keys_in_parameter_store_need_its_throughput(place: str, setting: str, expected: str) -> None:
    assert verdict(judge_throughput(place, setting, 500)) == expected


def test_quotas_are_found_by_code_and_that_of_connections_by_its_name() -> None:
    listed = [
        {"QuotaCode": "L-1", "QuotaName": "Regional APIs", "Value": 600.0},
        {"QuotaCode": CONCURRENCY, "QuotaName": "Concurrent executions", "Value": 1000.0},
        {"QuotaCode": "L-2", "QuotaName": "New connections per second (WebSocket APIs)", "Value": 500.0},
    ]
    assert find(listed, CONCURRENCY) == 1000.0
    assert find(listed, "L-3") is None
    assert find_connections(listed) == 500.0
    assert find_connections(listed[:2]) is None
