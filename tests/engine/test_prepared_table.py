"""The table of the benchmarks answers what the functions ask a table today."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from realtime.aws import clients
from realtime.tables import TableNames, Tables
from realtime.tables.rates import Bucket
from realtime.tables.registry import Gone
from tests.cloudformation import ROOT

CONNECTIONS = 10_000  # more than fit into a page
NOW_S = 1_705_314_600
WITHIN = 30.0


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    """The service's tables, which the process of the benchmarks answers for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    clients.session.cache_clear()
    clients.client.cache_clear()
    with subprocess.Popen([sys.executable, "-m", "bench.tables", str(port)], cwd=ROOT) as process:
        try:
            _wait_until_open(port)
            yield Tables(clients.client("dynamodb"), TableNames("connections", "users", "events"))
        finally:
            process.terminate()
    clients.session.cache_clear()
    clients.client.cache_clear()


def _wait_until_open(port: int) -> None:
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_all_that_a_fan_out_asks_is_answered(tables: Tables) -> None:
    pages = list(tables.connections.subscribers(f"feed/*/{CONNECTIONS}", NOW_S))
    found = {subscriber.connection_id for page in pages for subscriber in page}
    assert len(found) == CONNECTIONS
    assert len(pages) > 1
    assert list(tables.connections.subscribers(f"live/*/{CONNECTIONS}", NOW_S)) in ([], [[]])
    assert tables.stragglers.read().count == 0


def test_connections_that_are_gone_can_be_forgotten(tables: Tables) -> None:
    assert tables.registry.forget_all([Gone("a=", audiences=["feed/*/0"])], NOW_S * 1000) == {}


def test_posts_are_granted_and_frames_are_counted(tables: Tables) -> None:
    now_ms = NOW_S * 1000
    assert tables.budget.claim(now_ms, 50, 100).granted == 50
    assert tables.rates.take_of_connection("a=", 100, 1000, now_ms, seen_ms=0) == Bucket(0, now_ms + 100, True)
