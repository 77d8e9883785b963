"""The late lane: serve the connections that could not be served in the lane of `broadcast`, or close them.

A connection in the late lane gets nothing from `broadcast` until all of its late frames are delivered: then it is
healed. If it missed an event in the meantime, or if its frames cannot be delivered, it is closed and forgotten; its
client connects again and resumes. So a client may be late, but never misses a message without noticing.
docs/decisions/0033-a-lane-that-nobody-can-hold-up.md
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from realtime import trace
from realtime.aws.queues import Queue
from realtime.errors import ConfigurationError, RealtimeError
from realtime.log import logger
from realtime.orders import read_order
from realtime.posting.delivery import Delivery, Frame, Outcome, Result
from realtime.posting.poster import Poster
from realtime.tables.registry import Gone, Registry
from realtime.tables.stragglers import Behind, Stragglers, mark_of

# How long to wait before each other try; the last delay holds for all further ones.
RETRY_DELAYS_S = (1, 5, 15, 30, 60)
MAX_TRIES = 20  # a quarter of an hour; then it is forgotten, so that its next frame gets the answer to reconnect
CLOSING_TRIES = 5  # of a connection that is forgotten already
MAX_FRAMES_BYTES = 200_000  # in one message; with the rest of it, they must fit into one of SQS
PROBES = 8  # connections that do not exist, which show whether the account is throttled …
PROBING_S = 0.25  # … if some of them get nothing but 429s for this long
_SERVED = frozenset({Outcome.DELIVERED, Outcome.EXPIRED, Outcome.TOO_LARGE})
_NOT_NOW = frozenset({Outcome.NOT_TRIED, Outcome.NOT_YET_OPEN})
_PROBE = (Frame(b"{}"),)


@dataclass(frozen=True, slots=True)
class Straggler:
    """A connection and its late frames, each with the time (s since the epoch) after which it is left out.

    Without frames (None) it is to be closed; then it needs no `token`.
    """

    connection_id: str
    endpoint: str
    connected_at_s: float
    frames: Sequence[tuple[str, float | None]] | None
    token: str = ""
    close: bool = False  # close it after the frames
    tries: int = 0
    is_forgotten: bool = False  # nobody knows it any more; it only has to be closed
    trace_ids: Sequence[str] = ()  # of the events in its frames

    @classmethod
    def of(cls, delivery: Delivery, token: str, sent: int, trace_ids: Sequence[str] = ()) -> Straggler:
        """Return what is left of a delivery of which `sent` frames are finished."""
        frames = [(frame.body.decode(), frame.not_after_s) for frame in delivery.frames[sent:]]
        fits = sum(len(json.dumps(text)) for text, _ in frames) <= MAX_FRAMES_BYTES
        return cls(
            delivery.connection_id,
            delivery.stage,
            delivery.connected_at_s,
            frames if fits else None,
            token,
            delivery.close,
            trace_ids=trace_ids,
        )

    @classmethod
    def to_close(cls, delivery: Delivery, trace_ids: Sequence[str] = ()) -> Straggler:
        """Return an order to close a connection that misses a delivery."""
        return cls(delivery.connection_id, delivery.stage, delivery.connected_at_s, frames=None, trace_ids=trace_ids)

    def message(self) -> tuple[dict[str, object], dict[str, str]]:
        """Return the body and the attributes of its message in the queue."""
        body = asdict(self)
        return body, trace.as_attributes(body.pop("trace_ids"))


def read_straggler(body: str, trace_ids: Sequence[str] = ()) -> Straggler:
    """Read a message of the queue.

    Raises ValueError if it is none of ours.
    """
    return replace(read_order(body, Straggler), trace_ids=trace_ids)


class LateLane:
    """Serves stragglers."""

    def __init__(self, stragglers: Stragglers, registry: Registry, poster: Poster, queue: Queue) -> None:
        self._stragglers = stragglers
        self._registry = registry
        self._poster = poster
        self._queue = queue

    def serve(self, messages: Mapping[str, Straggler], until: float, now_ms: int) -> tuple[Counter[str], set[str]]:
        """Serve messages, by their ids; return how often each thing was done, and the messages that must come again.

        `until` is on the monotonic clock. Raises Unavailable if it cannot be read who is behind.
        """
        batch = _Batch(self._stragglers.read(), now_ms, self._stragglers, self._registry, self._queue)
        to_post, to_close = batch.sort(messages)
        served = list(self._deliver(to_post, until))
        batch.is_congested = self._is_congested(served, until)
        for name, result in served:
            with batch.handling(name):
                self._check_right(result.outcome)
                if batch.posted(to_post[name], result):
                    to_close[name] = to_post[name]
        closing = {name: replace(each, frames=(), close=True) for name, each in to_close.items()}
        closed = list(self._deliver(closing, until))
        batch.is_congested = batch.is_congested or self._is_congested(closed, until)
        for name, result in closed:
            with batch.handling(name):
                self._check_right(result.outcome)
                batch.closed(to_close[name], result.outcome)
        batch.failed |= (to_post.keys() - dict(served).keys()) | (to_close.keys() - dict(closed).keys())  # out of time
        return batch.counts, batch.failed

    def _deliver(self, messages: Mapping[str, Straggler], until: float) -> Iterator[tuple[str, Result[Delivery]]]:
        names: dict[Delivery, str] = {}
        for name, each in messages.items():
            frames = [Frame(text.encode(), not_after_s) for text, not_after_s in each.frames or ()]
            names[Delivery(each.endpoint, each.connection_id, frames, each.connected_at_s, each.close)] = name
        for result in self._poster.deliver(names, until=until):
            yield names[result.delivery], result

    def _check_right(self, outcome: Outcome) -> None:
        if outcome is Outcome.FORBIDDEN:
            raise ConfigurationError(f"the role of late may not post: {self._poster.refusal}")

    def _is_congested(self, results: Iterable[tuple[str, Result[Delivery]]], until: float) -> bool:
        """Return whether 429s are not the connections' fault: others, which do not exist, get them as well."""
        stages = [result.delivery.stage for _, result in results if result.outcome is Outcome.THROTTLED]
        if not stages:
            return False
        return is_throttled(self._poster, stages[0], min(until, time.monotonic() + PROBING_S))


def is_throttled(poster: Poster, stage: str, until: float) -> bool:
    """Return whether the account is throttled: connections that do not exist get nothing but 429s until then."""
    ids = (f"AAAAAAAAAAAAA{number:02}=" for number in range(PROBES))
    probes = [Delivery(stage, connection_id, _PROBE, connected_at_s=0) for connection_id in ids]
    throttled = sum(each.outcome is Outcome.THROTTLED for each in poster.deliver(probes, until=until))
    return throttled >= PROBES / 4


class _Batch:
    """What is done about the messages of one batch."""

    def __init__(self, behind: Behind, now_ms: int, stragglers: Stragglers, registry: Registry, queue: Queue) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: set[str] = set()
        self.is_congested = False
        self._behind = behind
        self._now_ms = now_ms
        self._stragglers = stragglers
        self._registry = registry
        self._queue = queue

    @contextmanager
    def handling(self, name: str) -> Iterator[None]:
        """Let a message come again if something fails that may succeed later."""
        try:
            yield
        except RealtimeError as problem:
            logger().error("a straggler must come again", extra={"message_id": name, "reason": str(problem)})
            self.failed.add(name)

    def sort(self, messages: Mapping[str, Straggler]) -> tuple[dict[str, Straggler], dict[str, Straggler]]:
        """Return the messages whose frames are to be posted, and those whose connections are to be closed.

        The others are done: their connections were healed or closed before.
        """
        to_post: dict[str, Straggler] = {}
        to_close: dict[str, Straggler] = {}
        for name, each in messages.items():
            marks = self._behind.marks.get(each.connection_id, ())
            is_known = mark_of(each.connection_id, each.token) in marks if each.token else bool(marks)
            if each.is_forgotten or each.connection_id in self._behind.skipped or (is_known and each.frames is None):
                to_close[name] = each
            elif is_known:
                to_post[name] = each
            else:
                self.counts["done before"] += 1
        return to_post, to_close

    def posted(self, straggler: Straggler, result: Result[Delivery]) -> bool:
        """Do what follows from posting a straggler's frames; return whether it has to be closed."""
        outcome = result.outcome
        if outcome in _SERVED and not straggler.close:
            is_healed = self._stragglers.heal(straggler.connection_id, straggler.token)
            self.counts["healed"] += is_healed
            return not is_healed
        if outcome in _SERVED or outcome is Outcome.GONE:
            self._end(straggler)
            return False
        if self._has_to_wait(outcome) and straggler.tries < MAX_TRIES:
            self._try_again(replace(straggler, frames=list(straggler.frames or ())[result.sent :]))
            return False
        return True

    def closed(self, straggler: Straggler, outcome: Outcome) -> None:
        """Do what follows from closing a straggler.

        If that failed, it is forgotten: it gets nothing more, and its next frame is answered with `reconnect`.
        """
        if outcome in {Outcome.DELIVERED, Outcome.GONE}:
            self._end(straggler)
        elif self._has_to_wait(outcome) and straggler.tries < MAX_TRIES:
            self._try_again(straggler)
        elif not straggler.is_forgotten:
            self._end(straggler, may_live=True)
            self._try_again(replace(straggler, frames=None, is_forgotten=True, tries=0))
        elif straggler.tries < CLOSING_TRIES:
            self._try_again(straggler)

    def _has_to_wait(self, outcome: Outcome) -> bool:
        return outcome in _NOT_NOW or (outcome is Outcome.THROTTLED and self.is_congested)

    def _end(self, straggler: Straggler, *, may_live: bool = False) -> None:
        """Forget a connection, and that it was behind."""
        if straggler.is_forgotten:
            return
        connection_id = straggler.connection_id
        for problem in self._registry.forget_all([Gone(connection_id, may_live=may_live)], self._now_ms).values():
            raise problem
        self._stragglers.remove(connection_id, self._behind.marks.get(connection_id, ()))
        self.counts["forgotten" if may_live else "closed"] += 1

    def _try_again(self, straggler: Straggler) -> None:
        delay_s = RETRY_DELAYS_S[min(straggler.tries, len(RETRY_DELAYS_S) - 1)]
        body, attributes = replace(straggler, tries=straggler.tries + 1).message()
        self._queue.send(body, delay_seconds=delay_s, attributes=attributes)
        self.counts["put off"] += 1
