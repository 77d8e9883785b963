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
    ("quota", "requests", "expected", "advice"),
    [
        (10_000, 8_000, FINE, ""),
        (10_000, 10_000, FINE, ""),
        (2_500, 8_000, FAILED, "RequestsPerSecond=2500,"),
        (3_000, 4_000, FAILED, "RequestsPerSecond=2500,"),
        (100, 8_000, FAILED, "RequestsPerSecond=500,"),
    ],
)
def test_what_the_stack_may_take_is_compared_with_the_accounts_requests(
    quota: int, requests: int, expected: str, advice: str
) -> None:
    judgement = judge_requests(quota, requests)
    assert verdict(judgement) == expected
    assert advice in judgement.advice


@pytest.mark.parametrize(
    ("quota", "ingest", "expected"),
    [(1_000, 16, FINE), (99, 16, WARNED), (31, 16, FAILED), (10, 16, FAILED), (100, 100, FAILED)],
)
def test_ingest_is_compared_with_lambdas_concurrency(quota: int, ingest: int, expected: str) -> None:
    assert verdict(judge_concurrency(quota, ingest)) == expected


def test_the_report_says_how_long_a_reconnect_of_all_clients_takes() -> None:
    assert "3.3 min" in judge_connections(500).says


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
