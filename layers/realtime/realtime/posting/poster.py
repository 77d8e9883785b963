"""The client of API Gateway's management API that `broadcast` posts with: in a fan-out, each connection fails alone.

What becomes of a post, by its answer:
    2xx                  the next frame of that connection
    410                  GONE; from a connection so young that its handshake may not be done: again, then NOT_YET_OPEN
    413                  that frame is left out, the others go; TOO_LARGE
    429, 5xx, none       again with full jitter, that connection alone, while its patience lasts; THROTTLED or FAILED
                         (while 429 hits everyone, patience with it stands still, for 10 s at most)
    403                  FORBIDDEN; three with no success between, and no more is asked of that stage
    any other            FAILED at once: asking again would not change it
docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

from __future__ import annotations

import enum
import heapq
import os
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from urllib.parse import quote, urlsplit

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.pacing import Congestion, TokenBucket, Window
from realtime.posting.signing import FrozenCredentials, Signer, canonical_path

if TYPE_CHECKING:
    from realtime.posting.http_pool import Wire

HANDSHAKE_SECONDS = 30.0  # $connect may take 29 s, and until it has answered, a post to its connection is a 410
# What is left of a handshake once its connection is known takes milliseconds. What stays closed for longer mostly never
# opens, and a batch waits for it.
OPENING_PATIENCE = 2.0

# s more for a connection that is throttled together with all others. What four of five posts are refused, one in 400
# connections is closed for; without it, one in seven would be.
CONGESTED_PATIENCE = 10.0

_SHORTEST_BACK_OFF = 0.05  # s; doubles with each failure on end
_LONGEST_BACK_OFF = 1.0
_MAX_WAITING = 10_000  # connections in back-off; no others are begun meanwhile, so that memory stays flat
_REFUSALS_ON_END = 3
_TICK = 0.05  # s between looks at libcurl's timeouts
_PACE = 0.001  # s to wait for the quota at least, so that posts go out a few at a time
_NOTHING = b""
_SHA256_OF_NOTHING = sha256(_NOTHING).hexdigest()
_is_usual = re.compile(r"[A-Za-z0-9_-]+=").fullmatch  # of connection ids: only their last character is encoded


class Outcome(enum.Enum):
    """What became of a delivery."""

    DELIVERED = "delivered"  # every frame, but for those expired; closed, if it was to be; there, if that was asked
    EXPIRED = "expired"  # all frames were past their time
    TOO_LARGE = "too_large"  # a frame was larger than a client may be sent; the others were delivered
    GONE = "gone"  # the connection does not exist any more
    NOT_YET_OPEN = "not_yet_open"  # 410 all along, but its handshake may not be done: not to be forgotten
    THROTTLED = "throttled"  # 429 for as long as its patience or the time lasted
    FAILED = "failed"  # no answer or an error for as long; `reason` says which
    CLOSED = "closed"  # could not be served, so was closed, so that the client comes back
    FORBIDDEN = "forbidden"  # the role may not do this; `ManagementApi.refusal` says what
    NOT_TRIED = "not_tried"  # the time ran out before its last frame was answered

    __hash__ = object.__hash__  # in C; Enum's own, in Python, is a fortieth of what a delivery costs


class Frame:
    """A message as it is posted: made once for all connections that hear it, so that it is hashed once."""

    __slots__ = ("body", "not_after", "sha256")

    def __init__(self, body: bytes, not_after: float | None = None) -> None:
        self.body = body
        self.sha256 = sha256(body).hexdigest()
        self.not_after = not_after
        """s since the epoch; past it the frame is left out."""


@dataclass(slots=True, eq=False)
class Delivery:
    """What one connection is to be sent, in order.

    Make one a connection where the order between its frames matters: deliveries do not wait for each other.
    """

    endpoint: str  # and so the API's stage
    connection_id: str  # opaque
    frames: Sequence[Frame]
    connected_at: float  # s since the epoch
    close: bool = False  # close the connection after the frames
    ask: bool = False  # with no frames: ask whether the connection exists; DELIVERED if it does
    sent: int = field(default=0, init=False)  # frames done with: delivered, expired or too large
    reason: str = field(default="", init=False)  # of the last failure, for the log

    # The engine's own notes.
    reached: bool = field(default=False, init=False, repr=False)  # something was accepted
    too_large: bool = field(default=False, init=False, repr=False)
    failures: int = field(default=0, init=False, repr=False)  # on end
    congested: float = field(default=0.0, init=False, repr=False)  # s of congestion before the first of these failures
    throttled: bool = field(default=False, init=False, repr=False)  # the last failure was a 429
    failing: Outcome | None = field(default=None, init=False, repr=False)  # what it is reported as, should time run out
    give_up_at: float = field(default=0.0, init=False, repr=False)  # monotonic
    closing: bool = field(default=False, init=False, repr=False)  # given up: to be closed, and reported as `failing`


D = TypeVar("D", bound=Delivery)


class ManagementApi:
    """Posts to connections of one WebSocket API, as fast as its quota lets.

    `endpoint_url` is the API's own, without a stage. `credentials` returns botocore's frozen credentials, renewed in
    time, and is asked once a second. `posts_per_second` is the share of the account's quota that may be used;
    `max_in_flight` bounds connections to the API, `patience` how long a client may fail on end before it is given up.
    Times in seconds. Certificates are checked against `ca_bundle`, else AWS_CA_BUNDLE, else what botocore trusts.
    Connections are kept between calls. Not for several threads at a time.
    """

    def __init__(
        self,
        endpoint_url: str,
        region: str,
        credentials: Callable[[], FrozenCredentials],
        *,
        posts_per_second: float,
        max_in_flight: int = 128,
        connect_timeout: float = 1.0,
        post_timeout: float = 2.0,
        patience: float = 2.5,
        ca_bundle: str | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        url = urlsplit(endpoint_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"not the URL of a management API: {endpoint_url!r}")
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        if url.port not in {None, {"http": 80, "https": 443}[url.scheme]}:
            host += f":{url.port}"
        self.origin = f"{url.scheme}://{host}"
        self._base_path = url.path.rstrip("/")
        self.refusal = ""
        """The last 403: what was asked, and the answer."""
        self.patience = patience
        self.jitter = jitter
        self.signer = Signer(host=host, region=region, service="execute-api", credentials=credentials)
        self.bucket = TokenBucket(posts_per_second, burst=max(1.0, posts_per_second / 2))
        self.window = Window(start=32, limit=max_in_flight)
        self.congestion = Congestion()
        self._prefixes: dict[str, tuple[str, str]] = {}
        self._connect_timeout = connect_timeout
        self._post_timeout = post_timeout
        self._ca_bundle = ca_bundle
        self._wire: Wire[Delivery] | None = None
        self._delivering = False

    def deliver(
        self, deliveries: Iterable[D], *, until: float, close_unserved: bool = False
    ) -> Iterator[tuple[D, Outcome]]:
        """Post all deliveries and yield each with its outcome as soon as it is known; return by `until` (monotonic).

        Draws a delivery when there is room for it, and one ahead. When the time is up, what was drawn is reported as
        THROTTLED, FAILED or NOT_TRIED and the rest is not drawn: no NOT_TRIED means that everything was tried. With
        `close_unserved`, a connection that is given up is closed, so that its client comes back: CLOSED.
        """
        if self._delivering:
            raise RuntimeError("a ManagementApi delivers one iterable at a time")
        wire = self.wire
        self._delivering = True
        try:
            fan_out: _FanOut[D] = _FanOut(
                self, cast("Wire[D]", wire), iter(deliveries), until=until, close_unserved=close_unserved
            )
            yield from fan_out.run()
        finally:
            self._delivering = False
            wire.abandon()

    def close(self) -> None:
        """Close the connections to the API."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    @property
    def wire(self) -> Wire[Delivery]:
        """Return the connections to the API, made when first used: only who posts pays for libcurl."""
        if self._wire is None:
            from realtime.posting.http_pool import Wire  # noqa: PLC0415

            bundle = self._ca_bundle or os.environ.get("AWS_CA_BUNDLE")
            if bundle is None and self.origin.startswith("https:"):
                from botocore.httpsession import get_cert_path  # noqa: PLC0415

                bundle = get_cert_path(verify=True)
            self._wire = Wire(
                self.origin, connect_timeout=self._connect_timeout, timeout=self._post_timeout, ca_bundle=bundle
            )
        return self._wire

    def paths(self, endpoint: str, connection_id: str) -> tuple[str, str]:
        """Return a connection's path as it is sent, and as it is signed."""
        prefixes = self._prefixes.get(endpoint)
        if prefixes is None:
            path = f"{self._base_path}/{quote(endpoint, safe='')}/@connections/"
            prefixes = self._prefixes[endpoint] = path, canonical_path(path)
        sent, signed = prefixes
        if _is_usual(connection_id):
            return f"{sent}{connection_id[:-1]}%3D", f"{signed}{connection_id[:-1]}%253D"
        connection_id = quote(connection_id, safe="")
        if connection_id in {".", ".."}:  # a step up the path, had it no other spelling
            connection_id = connection_id.replace(".", "%2E")
        # To encode once more what is encoded already is to encode its percent signs.
        return sent + connection_id, signed + connection_id.replace("%", "%25")


class _FanOut(Generic[D]):
    """One call of `deliver`."""

    def __init__(
        self,
        api: ManagementApi,
        wire: Wire[D],
        deliveries: Iterator[D],
        *,
        until: float,
        close_unserved: bool,
    ) -> None:
        self._api = api
        self._wire = wire
        self._bucket = api.bucket
        self._window = api.window
        self._congestion = api.congestion
        self._deliveries = deliveries
        self._until = until
        self._close_unserved = close_unserved
        self._drawn = next(deliveries, None)
        self._ready: deque[D] = deque()  # to go on at once
        self._waiting: list[tuple[float, int, D]] = []  # a heap: when to go on, and a number for equal times
        self._waits = 0
        self._refusals: dict[tuple[str, str], int] = {}  # on end, by endpoint and method

    def run(self) -> Iterator[tuple[D, Outcome]]:
        wire = self._wire
        self._congestion.resume(time.monotonic())
        while self._drawn or self._ready or self._waiting or wire.in_flight:
            now = time.monotonic()
            if now >= self._until:
                yield from self._out_of_time()
                return
            yield from self._send(now)
            answers = wire.receive()
            throttled = later = recovered = 0
            for delivery, status, text in answers:
                if 200 <= status < 300:
                    if delivery.failures or delivery.closing:
                        later += 1
                        recovered += 1
                    outcome = self._accepted(delivery)
                else:
                    if delivery.failures or delivery.closing:
                        later += 1
                    else:
                        throttled += status == 429
                    outcome = self._failed(delivery, status, text)
                if outcome is not None:
                    yield delivery, outcome
            if answers:
                self._window.answered(len(answers), throttled)
                self._congestion.answered(now, len(answers) - later, throttled, later, recovered)
            else:
                self._wait()

    def _send(self, now: float) -> Iterator[tuple[D, Outcome]]:
        """Start requests as far as quota and window let; yield the deliveries that turn out to need none."""
        wall = time.time()
        room = min(self._window.size - self._wire.in_flight, self._bucket.refill(now))
        while room > 0 and (delivery := self._next(now)) is not None:
            outcome = self._begin(delivery, wall)
            if outcome is None:
                self._bucket.tokens -= 1
                room -= 1
            else:
                yield delivery, outcome

    def _next(self, now: float) -> D | None:
        if self._ready:
            return self._ready.popleft()
        if self._waiting and self._waiting[0][0] <= now:
            due, _, delivery = heapq.heappop(self._waiting)
            delivery.give_up_at += now - due  # held back by quota or window: no failure of its own
            return delivery
        if len(self._waiting) >= _MAX_WAITING:
            return None
        drawn = self._drawn
        if drawn is not None:
            self._drawn = next(self._deliveries, None)
        return drawn

    def _begin(self, delivery: D, wall: float) -> Outcome | None:
        """Start the next request of a delivery; return its outcome if there is none to start."""
        frames = delivery.frames
        while delivery.sent < len(frames) and not delivery.closing:
            frame = frames[delivery.sent]
            if frame.not_after is not None and frame.not_after < wall:
                delivery.sent += 1
            elif len(frame.body) > MAX_FRAME_BYTES:
                delivery.too_large = True
                delivery.sent += 1
            else:
                return self._request(delivery, "POST", frame.body, frame.sha256, wall)
        if delivery.close or delivery.closing:
            return self._request(delivery, "DELETE", _NOTHING, _SHA256_OF_NOTHING, wall)
        if delivery.ask:
            return self._request(delivery, "GET", _NOTHING, _SHA256_OF_NOTHING, wall)
        return _ended(delivery)

    def _request(self, delivery: D, method: str, body: bytes, body_sha256: str, wall: float) -> Outcome | None:
        if self._refusals and self._refusals.get((delivery.endpoint, method), 0) >= _REFUSALS_ON_END:
            delivery.reason = self._api.refusal
            return Outcome.FORBIDDEN
        path, canonical = self._api.paths(delivery.endpoint, delivery.connection_id)
        headers = self._api.signer.headers(method, canonical, body_sha256, wall)
        self._wire.send(delivery, method, path, headers, body)
        return None

    def _accepted(self, delivery: D) -> Outcome | None:
        """Go on with a delivery after a 2xx; return its outcome if that was the last."""
        if delivery.closing:
            return Outcome.CLOSED
        delivery.reached = True
        if delivery.failures:
            delivery.failures = 0
            delivery.failing = None
        if self._refusals:
            self._refusals.pop((delivery.endpoint, _method(delivery)), None)
        frames = len(delivery.frames)
        if delivery.sent == frames:
            return _ended(delivery)  # that was no frame, but what comes after the frames
        delivery.sent += 1
        if delivery.sent == frames and not delivery.close:
            return _ended(delivery)
        self._ready.append(delivery)
        return None

    def _failed(self, delivery: D, status: int, text: str) -> Outcome | None:
        """Decide how to go on after anything but a 2xx; return the outcome if not at all."""
        delivery.reason = f"{status} {text}".rstrip() if status else text
        delivery.throttled = status == 429
        if status == 410:
            return self._missing(delivery)
        if status == 403:
            return self._refused(delivery)
        if status == 413 and _method(delivery) == "POST":
            delivery.too_large = True
            delivery.sent += 1
            self._ready.append(delivery)
            return None
        if status == 429:
            return self._again(delivery, Outcome.THROTTLED)
        if status == 0 or status >= 500:
            return self._again(delivery, Outcome.FAILED)
        return self._give_up(delivery, Outcome.FAILED)

    def _missing(self, delivery: D) -> Outcome | None:
        if not delivery.reached and time.time() - delivery.connected_at < HANDSHAKE_SECONDS:
            return self._again(delivery, Outcome.NOT_YET_OPEN)
        return Outcome.GONE

    def _refused(self, delivery: D) -> Outcome:
        method = _method(delivery)
        self._refusals[delivery.endpoint, method] = self._refusals.get((delivery.endpoint, method), 0) + 1
        path, _ = self._api.paths(delivery.endpoint, "")
        self._api.refusal = f"{method} {self._api.origin}{path}*: {delivery.reason}"
        return Outcome.FORBIDDEN

    def _again(self, delivery: D, outcome: Outcome) -> Outcome | None:
        """Let a delivery wait for a random while, longer with each failure on end; or give it up."""
        now = time.monotonic()
        if not delivery.failures:
            opening = outcome is Outcome.NOT_YET_OPEN
            delivery.give_up_at = now + (min(OPENING_PATIENCE, self._api.patience) if opening else self._api.patience)
            delivery.congested = self._congestion.seconds(now)
        back_off = min(_LONGEST_BACK_OFF, _SHORTEST_BACK_OFF * 2 ** min(delivery.failures, 10))
        due = now + back_off * self._api.jitter()  # "full jitter": Brooker, Exponential Backoff And Jitter
        give_up_at = delivery.give_up_at
        if delivery.throttled:
            give_up_at += min(CONGESTED_PATIENCE, self._congestion.seconds(due) - delivery.congested)
        if due >= give_up_at:
            return self._give_up(delivery, outcome)
        delivery.failures += 1
        if not delivery.closing:
            delivery.failing = outcome
        self._waits += 1
        heapq.heappush(self._waiting, (due, self._waits, delivery))
        return None

    def _give_up(self, delivery: D, outcome: Outcome) -> Outcome | None:
        if delivery.closing:
            return delivery.failing
        if not self._close_unserved or outcome is Outcome.NOT_YET_OPEN:
            return outcome
        delivery.failing = outcome
        delivery.failures = 0
        delivery.closing = True
        self._ready.append(delivery)
        return None

    def _wait(self) -> None:
        """Wait for answers, the quota, the next delivery's turn or the end of time, whichever is first."""
        now = time.monotonic()
        seconds = min(_TICK, self._until - now)
        if self._ready or self._drawn:
            if self._bucket.tokens < 1:
                seconds = min(seconds, max(_PACE, self._bucket.seconds_to_next()))
            elif self._wire.in_flight >= self._window.size:
                self._window.held_back()
        if self._waiting:
            seconds = min(seconds, max(_PACE, self._waiting[0][0] - now))
        if seconds > 0:
            self._wire.wait(seconds)

    def _out_of_time(self) -> Iterator[tuple[D, Outcome]]:
        waiting = [delivery for _, _, delivery in self._waiting]
        for delivery in (*self._wire.abandon(), *self._ready, *waiting):
            yield delivery, delivery.failing or Outcome.NOT_TRIED
        if self._drawn is not None:
            yield self._drawn, Outcome.NOT_TRIED


def _ended(delivery: Delivery) -> Outcome:
    if delivery.too_large:
        return Outcome.TOO_LARGE
    return Outcome.DELIVERED if delivery.reached or not delivery.frames else Outcome.EXPIRED


def _method(delivery: Delivery) -> str:
    if delivery.closing:
        return "DELETE"
    if delivery.sent < len(delivery.frames):
        return "POST"
    return "GET" if delivery.ask else "DELETE"
