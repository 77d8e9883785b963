"""Integration tests: our code against moto's DynamoDB, SQS, EventBridge and SSM, built from template.yaml itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Any

import pytest
from moto import mock_aws  # before any client exists: it changes only clients that are made afterwards

from realtime.aws import clients
from tests.logs import logged  # noqa: F401  # a fixture
from tests.support.cloud import REGION, STORY_BEGINS, Cloud
from tests.support.fake_sqs import check_message
from tests.support.strict_dynamodb import StrictDynamoDB, attach
from tests.unit.fakes import Clock, Sleeps


@pytest.fixture(scope="module", autouse=True)
def _own_clients() -> Iterator[None]:
    """Create new AWS clients, with credentials that are valid nowhere else."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.delenv("AWS_PROFILE", raising=False)
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        clients.session.cache_clear()
        clients.client.cache_clear()
        clients.session().register("provide-client-params.sqs.SendMessage", _as_strict_as_aws)
        yield
        clients.session.cache_clear()
        clients.client.cache_clear()


def _as_strict_as_aws(**sent: Any) -> None:
    """Refuse the characters that AWS refuses: moto accepts any."""
    check_message(sent["params"])


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the time of the samples; seconds since the epoch."""
    clock = Clock(STORY_BEGINS + 0.4)
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """Record sleeps instead of sleeping."""
    sleeps = Sleeps()
    monkeypatch.setattr(time, "sleep", sleeps)
    return sleeps


@pytest.fixture
def jwt_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the samples' time for PyJWT, too."""

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Now:
            return cls.fromtimestamp(clock.now, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Now)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Return the tables, queues, bus and parameter that the template creates."""
    with mock_aws():
        yield Cloud(monkeypatch)


@pytest.fixture
def strict_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Return the cloud with a DynamoDB that refuses what AWS refuses: `cloud.strict` sets the failures of calls."""
    clients.client.cache_clear()
    cloud.strict = StrictDynamoDB(cloud.perform, cloud.image)
    attach(clients.client("dynamodb"), cloud.strict)
    yield cloud
    clients.client.cache_clear()
