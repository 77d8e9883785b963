"""The clients and the Poster of the function in the chaos: they fail, or end the process, as a plan says."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from realtime.posting.api import make_poster
from realtime.posting.delivery import D, Result
from realtime.posting.pacing import TokenBucket
from realtime.posting.poster import Poster
from tests.support import strict_dynamodb
from tests.support.posters import Frozen
from tests.support.stream_mapping import Killed
from tests.support.strict_dynamodb import Chances, StrictDynamoDB

if TYPE_CHECKING:
    from tests.chaos.runtime import Runtime

# Short, so that a run takes seconds: in production a post may take 2 s, and a connection may fail for 2.5 s.
POST_SECONDS, PATIENCE_SECONDS = 0.1, 0.2
# Errors that each attempt of a call to DynamoDB may meet; the call must succeed by its retries.
CHANCES = Chances(conflict=0.1, throttle=0.03, failure=0.01, lost=0.02, partial=0.3)


@dataclass
class Plan:
    """The failures in one invocation."""

    remaining_ms: int = 60_000
    killed_after_posts: int | None = None
    killed_at_call: int | None = None
    failing_calls: set[int] = field(default_factory=set)
    calls: Iterator[int] = field(default_factory=itertools.count)


class DeadLetters:
    """The queue to which `broadcast` sends the records that it cannot read."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def send(self, body: dict[str, Any], *, attributes: dict[str, str]) -> None:
        assert attributes["reason"]
        self._names.append("/".join(each["S"] for each in body["keys"].values()))


class FunctionsClient:
    """The functions' client of DynamoDB: some calls fail for good, and some end their process.

    Many more calls meet temporary errors, attempt by attempt.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.dynamodb = StrictDynamoDB(
            runtime.call,
            runtime.tables.get,
            clock=time.time,
            held=0.001,
            chance=random.Random(f"{runtime.seed} DynamoDB"),
            chances=CHANCES,
        )
        self._client = strict_dynamodb.Client(self.dynamodb.call)

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**request: Any) -> dict[str, Any]:
            plan = self._runtime.plan
            number = next(plan.calls)
            if number == plan.killed_at_call:
                raise Killed
            if number in plan.failing_calls:
                response: Any = {"Error": {"Code": "ThrottlingException", "Message": "chaos"}}
                raise ClientError(response, operation)
            if self._runtime.is_calm:
                return self._runtime.call(operation, request)
            return self._client.make(operation, request)

        return call


class FailingPoster(Poster):
    """A real Poster whose process may end at any outcome."""

    def __init__(self, runtime: Runtime, rate: float) -> None:
        self._poster = make_poster(
            runtime.api.url,
            "us-east-1",
            Frozen,
            quota=TokenBucket(rate, burst=rate / 2),
            post_timeout_s=10.0 if runtime.is_calm else POST_SECONDS,
            patience_s=30.0 if runtime.is_calm else PATIENCE_SECONDS,
            jitter=random.Random(runtime.seed).random,
        )
        self._runtime = runtime

    @property
    def refusal(self) -> str:  # type: ignore[override]
        return self._poster.refusal

    def deliver(self, deliveries: Iterable[D], *, until: float, in_lane: bool = False) -> Iterator[Result[D]]:
        last = self._runtime.plan.killed_after_posts
        for number, result in enumerate(self._poster.deliver(deliveries, until=until, in_lane=in_lane)):
            if number == last:
                raise Killed
            yield result
        if last is not None:
            raise Killed  # everything was posted, but the function does not report it

    def close(self) -> None:
        self._poster.close()
