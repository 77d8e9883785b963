"""Posters that tests make for a fake management API, with their deliveries and results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from realtime.posting.delivery import Delivery, Frame, Outcome, Result
from realtime.posting.poster import Poster


class Frozen(NamedTuple):
    """Frozen credentials, as botocore's are."""

    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "secret"
    token: str | None = "token"


class MakePoster(Protocol):
    """Makes a Poster for the fake API; it soon gives up, unless the settings say otherwise."""

    def __call__(self, **settings: Any) -> Poster: ...


def delivery(connection_id: str, frames: Sequence[Frame] = (Frame(b"hello"),), **more: Any) -> Delivery:
    return Delivery("feed", connection_id, frames, connected_at_s=0.0, **more)


def results(poster: Poster, deliveries: Iterable[Delivery]) -> dict[str, Result[Delivery]]:
    """Deliver, and return the result of each connection."""
    until = time.monotonic() + 30
    return {each.delivery.connection_id: each for each in poster.deliver(deliveries, until=until)}


def outcomes(poster: Poster, deliveries: Iterable[Delivery]) -> dict[str, Outcome]:
    """Deliver, and return the outcome of each connection."""
    return {connection_id: each.outcome for connection_id, each in results(poster, deliveries).items()}
