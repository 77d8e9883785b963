"""Integration tests: our code against moto's DynamoDB, SQS, EventBridge and SSM, built from template.yaml itself."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any

import pytest
from moto import mock_aws  # before any client exists: it changes only clients that are made afterwards

from realtime import messages
from realtime.aws import clients
from realtime.aws.bus import Bus, BusEvent
from realtime.default import FrameHandler
from tests.logs import logged  # noqa: F401  # a fixture
from tests.support import contract, data_model
from tests.support.cloud import REGION, STORY_BEGINS, Cloud, refuse_what_aws_refuses
from tests.support.strict_dynamodb import StrictDynamoDB, attach
from tests.unit.fakes import Clock, Sleeps


@pytest.fixture(scope="module", autouse=True)
def _own_clients() -> Iterator[None]:
    """Create new AWS clients, with credentials that are valid nowhere else; moto answers them."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.delenv("AWS_PROFILE", raising=False)
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        clients.session.cache_clear()
        clients.client.cache_clear()
        clients.session().register("provide-client-params", refuse_what_aws_refuses)
        yield
        clients.session.cache_clear()
        clients.client.cache_clear()


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


@pytest.fixture(autouse=True)
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count no frame of a quiet connection that chance may leave out."""
    monkeypatch.setattr(random, "random", lambda: 0.99)


@pytest.fixture
def jwt_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the samples' time for PyJWT, too."""

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Now:
            return cls.fromtimestamp(clock.now, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Now)


@pytest.fixture(autouse=True)
def as_promised(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold every message that is made, every answer and every event for the bus to the contract."""
    encode, answer, entry = messages.encode, FrameHandler.answer, Bus._entry
    broken: list[str] = []  # an error here would be caught by the service's last resort

    def check(check_one: Callable[[Any], None], said: Any) -> None:
        try:
            check_one(said)
        except contract.BreaksTheContractError as problem:
            broken.append(str(problem))

    def checked_encode(*given: Any, **more: Any) -> str:
        frame = encode(*given, **more)
        if given[2] != 0:  # the empty envelope by which `backend_events` measures is no message
            check(contract.check_heard, frame)
        return frame

    def checked_answer(self: FrameHandler, *given: Any) -> str:
        frame = answer(self, *given)
        check(contract.check_heard, frame)
        return frame

    def checked_entry(self: Bus, event: BusEvent) -> dict[str, Any]:
        made = entry(self, event)
        told = {"source": made["Source"], "detail-type": made["DetailType"], "detail": json.loads(made["Detail"])}
        check(contract.check_told, told)
        return made

    monkeypatch.setattr(messages, "encode", checked_encode)
    monkeypatch.setattr(FrameHandler, "answer", checked_answer)
    monkeypatch.setattr(Bus, "_entry", checked_entry)
    yield
    assert broken == [] or request.node.get_closest_marker("unpromised")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Return the tables, queues, bus and parameter that the template creates.

    What was posted is as promised, too, and what is stored is as documented.
    """
    cloud = Cloud(monkeypatch)
    begin_s = clock.now
    yield cloud
    for delivery in cloud.poster.deliveries:
        for frame in delivery.frames:
            contract.check_heard(frame.body.decode())
    if not request.node.get_closest_marker("unpromised"):
        for table in ("Connections", "Users", "Blocks", "Events"):
            data_model.check(table, cloud.held(table), begin_s, clock.now)


@pytest.fixture
def strict_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Return the cloud with a DynamoDB that refuses what AWS refuses: `cloud.strict` sets the failures of calls."""
    clients.client.cache_clear()
    cloud.strict = StrictDynamoDB(cloud.perform, cloud.image)
    attach(clients.client("dynamodb"), cloud.strict)
    yield cloud
    clients.client.cache_clear()
