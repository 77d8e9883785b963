"""HTTP against a fake management API on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from harness.fake_api import FakeApi
from realtime.posting.api import make_poster
from realtime.posting.pacing import TokenBucket
from realtime.posting.poster import Poster
from tests.support.posters import Frozen, MakePoster


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
                "quota": TokenBucket(100_000, burst=50_000),
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
