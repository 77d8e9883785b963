"""HTTP against a fake management API on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

import pytest

from realtime.posting.api import make_poster
from realtime.posting.delivery import Delivery, Frame, Outcome, Result
from realtime.posting.poster import Poster
from tests.engine.fake_api import FakeApi


class Frozen(NamedTuple):
    """Frozen credentials, as botocore's are."""

    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "secret"
    token: str | None = "token"


class MakePoster(Protocol):
    """Makes a Poster for the fake API; it soon gives up, unless the settings say otherwise."""

    def __call__(self, **settings: Any) -> Poster: ...


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def new_poster(fake: FakeApi) -> Iterator[MakePoster]:
    with ExitStack() as posters:

        def make(**settings: Any) -> Poster:
            used: dict[str, Any] = {
                "endpoint_url": fake.url,
                "region": "eu-west-1",
                "credentials": Frozen,
                "posts_per_second": 100_000,
                "post_timeout_s": 0.2,
                "patience_s": 0.3,
            } | settings
            poster = make_poster(**used)
            posters.callback(poster.close)
            return poster

        yield make


@pytest.fixture
def poster(new_poster: MakePoster) -> Poster:
    return new_poster()


def delivery(connection_id: str, frames: Sequence[Frame] = (Frame(b"hello"),), **more: Any) -> Delivery:
    return Delivery("feed", connection_id, frames, connected_at=0.0, **more)


def results(poster: Poster, deliveries: Iterable[Delivery]) -> dict[str, Result[Delivery]]:
    """Deliver, and return the result of each connection."""
    until = time.monotonic() + 30
    return {each.delivery.connection_id: each for each in poster.deliver(deliveries, until=until)}


def outcomes(poster: Poster, deliveries: Iterable[Delivery]) -> dict[str, Outcome]:
    """Deliver, and return the outcome of each connection."""
    return {connection_id: each.outcome for connection_id, each in results(poster, deliveries).items()}
