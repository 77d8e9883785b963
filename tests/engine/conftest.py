"""The engine against a fake management API on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

import pytest

from realtime.posting.poster import ManagementApi
from tests.engine.fake_api import FakeApi


class Frozen(NamedTuple):
    """Frozen credentials, as botocore's are."""

    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "secret"
    token: str | None = "token"


class MakeEngine(Protocol):
    """Makes an engine for the fake, impatient unless told otherwise."""

    def __call__(self, **settings: Any) -> ManagementApi: ...


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def make_engine(fake: FakeApi) -> Iterator[MakeEngine]:
    with ExitStack() as engines:

        def make(**settings: Any) -> ManagementApi:
            used: dict[str, Any] = {
                "endpoint_url": fake.url,
                "region": "eu-west-1",
                "credentials": Frozen,
                "posts_per_second": 100_000,
                "post_timeout": 1.0,
                "patience": 2.0,
            } | settings
            engine = ManagementApi(**used)
            engines.callback(engine.close)
            return engine

        yield make


@pytest.fixture
def engine(make_engine: MakeEngine) -> ManagementApi:
    return make_engine()
