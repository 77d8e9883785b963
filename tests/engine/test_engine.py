"""The engine that posts: what becomes of each delivery, in which order, and that no connection's trouble is another's.

Where a test gives a time, it is a deadline that a broken engine would overrun, not a speed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting import poster
from realtime.posting.poster import Delivery, Frame, ManagementApi, Outcome
from tests.engine.conftest import Frozen, MakeEngine
from tests.engine.fake_api import FakeApi, Step, Trouble
from tests.support.account import Account

LONG_AGO = 0.0
HELLO = [Frame(b"hello")]


def delivery(connection_id: str, frames: Sequence[Frame] = HELLO, **more: object) -> Delivery:
    return Delivery("feed", connection_id, frames, **({"connected_at": LONG_AGO} | more))  # type: ignore[arg-type]


def frames(count: int) -> list[Frame]:
    return [Frame(f"frame {number}".encode()) for number in range(count)]


def bodies(count: int) -> list[bytes]:
    return [frame.body for frame in frames(count)]


def outcomes(
    engine: ManagementApi, deliveries: Iterable[Delivery], *, seconds: float = 30.0, close_unserved: bool = False
) -> dict[str, Outcome]:
    """Deliver, and return the outcome of each connection; none may be reported twice."""
    reported: dict[str, Outcome] = {}
    until = time.monotonic() + seconds
    for each, outcome in engine.deliver(deliveries, until=until, close_unserved=close_unserved):
        assert each.connection_id not in reported
        reported[each.connection_id] = outcome
    return reported


class TestPosting:
    def test_every_connection_gets_every_frame_in_order(self, fake: FakeApi, engine: ManagementApi) -> None:
        ids = [f"c{number}=" for number in range(200)]
        reported = outcomes(engine, (delivery(each, frames(3)) for each in ids))
        assert reported == dict.fromkeys(ids, Outcome.DELIVERED)
        assert all(fake.bodies(each) == bodies(3) for each in ids)

    def test_no_deliveries_are_no_work(self, fake: FakeApi, engine: ManagementApi) -> None:
        assert outcomes(engine, []) == {}
        assert fake.requests == []

    def test_a_request_carries_a_signature_that_botocore_would_make(self, fake: FakeApi, engine: ManagementApi) -> None:
        assert outcomes(engine, [delivery("odd/id =+%")]) == {"odd/id =+%": Outcome.DELIVERED}
        (request,) = fake.requests
        assert (request.method, request.path) == ("POST", "/feed/@connections/odd%2Fid%20%3D%2B%25")
        assert "content-type" not in request.headers
        when = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        again = AWSRequest(method="POST", url=f"http://{request.headers['host']}{request.path}", data=request.body)
        with mock.patch("botocore.auth.get_current_datetime", return_value=when):
            SigV4Auth(Credentials(*Frozen()), "execute-api", "eu-west-1").add_auth(again)
        assert request.headers["authorization"] == again.headers["Authorization"]

    def test_connections_to_the_api_are_kept_and_bounded(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(max_in_flight=8)
        for _ in range(2):
            outcomes(engine, (delivery(f"c{number}") for number in range(100)))
        assert len(fake.requests) == 200
        assert fake.most_at_once <= 8
        assert fake.peers <= 8

    def test_an_endpoint_url_may_have_a_path(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(endpoint_url=f"{fake.url}/_aws/execute-api/realtime/")
        assert outcomes(engine, [delivery("c")]) == {"c": Outcome.DELIVERED}
        assert fake.requests[0].path == "/_aws/execute-api/realtime/feed/@connections/c"

    @pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://localhost", "https://"])
    def test_an_endpoint_url_that_is_none_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="management API"):
            ManagementApi(url, "eu-west-1", Frozen, posts_per_second=1)

    def test_credentials_are_renewed_while_it_delivers(
        self, fake: FakeApi, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = (Frozen(f"KEY{number}") for number in range(100))
        engine = make_engine(credentials=lambda: next(keys))
        clock = mock.Mock(wraps=time)
        seconds = iter(range(1_800_000_000, 1_800_000_100))
        clock.time = lambda: float(next(seconds))
        monkeypatch.setattr(poster, "time", clock)
        outcomes(engine, (delivery(f"c{number}") for number in range(200)))
        used = {request.headers["authorization"].split("Credential=")[1].split("/")[0] for request in fake.requests}
        assert {"KEY0", "KEY1"} <= used

    def test_it_draws_no_more_than_it_has_room_for(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(max_in_flight=4, post_timeout=10)
        drawn: list[str] = []

        def endless() -> Iterator[Delivery]:
            for number in range(1_000_000):
                drawn.append(f"c{number}")
                yield delivery(drawn[-1])

        fake.hold()
        reported = outcomes(engine, endless(), seconds=0.3)
        assert len(drawn) == 5  # four in flight, and one ahead
        assert reported == dict.fromkeys(drawn, Outcome.NOT_TRIED)

    def test_who_stops_listening_leaves_nothing_behind(self, fake: FakeApi, engine: ManagementApi) -> None:
        some = engine.deliver((delivery(f"c{number}") for number in range(1000)), until=time.monotonic() + 30)
        next(some)
        with pytest.raises(RuntimeError, match="one iterable at a time"):
            next(engine.deliver([delivery("other")], until=time.monotonic() + 30))
        some.close()  # type: ignore[attr-defined]
        assert outcomes(engine, [delivery("next")]) == {"next": Outcome.DELIVERED}

    def test_what_the_source_of_deliveries_raises_is_raised(self, fake: FakeApi, engine: ManagementApi) -> None:
        def broken() -> Iterator[Delivery]:
            yield delivery("c")
            raise LookupError("the table is gone")

        with pytest.raises(LookupError, match="the table is gone"):
            outcomes(engine, broken())
        assert outcomes(engine, [delivery("next")]) == {"next": Outcome.DELIVERED}


class TestGone:
    def test_a_connection_that_is_gone_is_tried_once_and_holds_up_nobody(
        self, fake: FakeApi, engine: ManagementApi
    ) -> None:
        fake.script("gone", [410] * 9)
        reported = outcomes(engine, [delivery("gone", frames(3)), delivery("there", frames(3))])
        assert reported == {"gone": Outcome.GONE, "there": Outcome.DELIVERED}
        assert fake.bodies("gone", accepted=False) == [b"frame 0"]
        assert fake.bodies("there") == bodies(3)

    def test_a_connection_that_goes_between_frames_is_gone(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("going", [200, 410])
        young = delivery("going", frames(3), connected_at=time.time())
        assert outcomes(engine, [young]) == {"going": Outcome.GONE}
        assert young.sent == 1

    def test_a_young_connection_is_given_time_to_open(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("young", [410, 410, 410])
        assert outcomes(engine, [delivery("young", frames(2), connected_at=time.time())]) == {
            "young": Outcome.DELIVERED
        }
        assert fake.bodies("young") == bodies(2)

    def test_one_that_never_opens_is_not_called_gone(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("young", [410] * 1000)
        young = delivery("young", connected_at=time.time())
        assert outcomes(engine, [young], close_unserved=True) == {"young": Outcome.NOT_YET_OPEN}
        assert {request.method for request in fake.requests} == {"POST"}

    def test_nobody_waits_long_for_one_that_does_not_open(
        self, fake: FakeApi, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poster, "OPENING_PATIENCE", 0.2)
        fake.script("young", [410] * 1000)
        until = time.monotonic() + 30
        young = delivery("young", connected_at=time.time())
        assert list(make_engine(patience=60).deliver([young], until=until)) == [(young, Outcome.NOT_YET_OPEN)]
        assert time.monotonic() < until, "it was given up, not cut off"

    def test_one_that_outgrows_its_youth_is_gone(
        self, fake: FakeApi, engine: ManagementApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poster, "HANDSHAKE_SECONDS", 0.2)
        fake.script("young", [410] * 1000)
        assert outcomes(engine, [delivery("young", connected_at=time.time())]) == {"young": Outcome.GONE}


class TestBackOff:
    @pytest.mark.parametrize(
        "steps",
        [
            [429, 429, 429],
            [500],
            [503, 502, 504],
            [Trouble.HANG],
            [Trouble.RESET, Trouble.RESET],
            [Trouble.HALF_STATUS],
            [Trouble.SLOW_ERROR],
            [429, Trouble.RESET, 500, Trouble.HANG],
        ],
        ids=str,
    )
    def test_what_passes_is_waited_for_and_the_order_holds(
        self, fake: FakeApi, make_engine: MakeEngine, steps: list[Step]
    ) -> None:
        engine = make_engine(patience=20)
        fake.script("bad", [200, *steps])
        others = [f"c{number}" for number in range(50)]
        reported = outcomes(engine, [delivery("bad", frames(3)), *(delivery(each, frames(3)) for each in others)])
        assert reported == dict.fromkeys(["bad", *others], Outcome.DELIVERED)
        assert fake.bodies("bad") == bodies(3)
        assert fake.bodies("bad", accepted=False) == [b"frame 0", *[b"frame 1"] * (len(steps) + 1), b"frame 2"]
        assert all(fake.bodies(each, accepted=False) == bodies(3) for each in others)

    def test_others_are_served_while_one_waits(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(patience=20, post_timeout=10)
        fake.script("bad", [Trouble.HANG])
        order = []
        everyone = [delivery("bad"), *(delivery(f"c{number}") for number in range(300))]
        for each, _ in engine.deliver(everyone, until=time.monotonic() + 30):
            order.append(each.connection_id)
            if len(order) == 300:
                break
        assert "bad" not in order

    @pytest.mark.parametrize(
        ("step", "outcome", "reason"),
        [
            (429, Outcome.THROTTLED, "429"),
            (500, Outcome.FAILED, '500 {"message":"scripted"}'),
            (Trouble.HANG, Outcome.FAILED, "timed out"),
            (Trouble.RESET, Outcome.FAILED, "reset"),
        ],
    )
    def test_patience_ends(
        self, fake: FakeApi, engine: ManagementApi, step: Step, outcome: Outcome, reason: str
    ) -> None:
        fake.script("bad", [step] * 1000)
        bad = delivery("bad", frames(2))
        assert outcomes(engine, [bad, delivery("good")]) == {"bad": outcome, "good": Outcome.DELIVERED}
        assert bad.sent == 0
        assert reason in bad.reason
        assert len(fake.bodies("bad", accepted=False)) > 1

    def test_patience_begins_anew_with_each_frame(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(patience=1.0, jitter=lambda: 0.9)
        fake.script("slow", [429, 429, 429, 200] * 5)  # 0.3 s a frame
        assert outcomes(engine, [delivery("slow", frames(5))]) == {"slow": Outcome.DELIVERED}

    def test_an_accepted_post_counts_even_if_its_answer_never_ends(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("slow", [Trouble.SLOW_BODY])
        assert outcomes(engine, [delivery("slow", frames(2))]) == {"slow": Outcome.DELIVERED}
        assert fake.bodies("slow", accepted=False) == bodies(2)

    def test_a_hanging_post_ends_after_two_seconds(self, fake: FakeApi) -> None:
        engine = ManagementApi(fake.url, "eu-west-1", Frozen, posts_per_second=100)
        fake.script("bad", [Trouble.HANG])
        began = time.monotonic()
        assert outcomes(engine, [delivery("bad")]) == {"bad": Outcome.DELIVERED}
        assert 2.0 <= time.monotonic() - began < 10
        engine.close()

    def test_an_api_that_cannot_be_reached_is_a_failure(self, make_engine: MakeEngine) -> None:
        engine = make_engine(endpoint_url="http://localhost:1")
        nobody = delivery("c")
        assert outcomes(engine, [nobody]) == {"c": Outcome.FAILED}
        assert "connect" in nobody.reason

    def test_many_in_back_off_are_bounded(
        self, fake: FakeApi, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poster, "_MAX_WAITING", 20)
        engine = make_engine(max_in_flight=4, patience=60, jitter=lambda: 1.0)
        fake.default = 500
        drawn = 0

        def many() -> Iterator[Delivery]:
            nonlocal drawn
            for number in range(1000):
                drawn += 1
                yield delivery(f"c{number}")

        reported = outcomes(engine, many(), seconds=1.0)
        assert drawn == len(reported) <= 20 + 4 + 1
        assert set(reported.values()) == {Outcome.FAILED, Outcome.NOT_TRIED}

    def test_a_throttled_account_is_asked_less(self, fake: FakeApi, engine: ManagementApi) -> None:
        for number in range(300):
            fake.script(f"c{number}", [429])
        before = engine.window.size
        reported = outcomes(engine, (delivery(f"c{number}") for number in range(300)))
        assert set(reported.values()) == {Outcome.DELIVERED}
        assert engine.window.size < before

    def test_a_throttled_account_closes_nobody(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(patience=0.5)
        fake.account = Account(rate=1000, burst=50, clock=time.monotonic)
        fake.account.others_take(share=0.95, seconds=3)
        everyone = [delivery(f"c{number}=") for number in range(300)]
        reported = Counter(outcomes(engine, everyone, close_unserved=True).values())
        assert fake.account.refused > 300
        assert reported == {Outcome.DELIVERED: 300}

    def test_slow_clients_are_given_up_as_soon_as_ever(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(patience=0.5)
        for number in range(0, 300, 15):
            fake.script(f"c{number}", [429] * 1000)
        began = time.monotonic()
        everyone = [delivery(f"c{number}") for number in range(300)]
        reported = Counter(outcomes(engine, everyone, close_unserved=True).values())
        assert reported == {Outcome.THROTTLED: 20, Outcome.DELIVERED: 280}
        assert time.monotonic() - began < poster.CONGESTED_PATIENCE
        assert all(each.throttled == (each.connection_id in fake.scripts) for each in everyone)

    def test_congestion_does_not_outlast_what_is_borne(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(patience=0.1)
        fake.default = 429
        with mock.patch.object(poster, "CONGESTED_PATIENCE", 0.5):
            reported = Counter(outcomes(engine, [delivery(f"c{number}") for number in range(30)]).values())
        assert reported == {Outcome.THROTTLED: 30}

    def test_slow_clients_do_not_slow_down_the_others(self, fake: FakeApi, engine: ManagementApi) -> None:
        for number in range(0, 300, 30):
            fake.script(f"c{number}", [429] * 4)
        before = engine.window.size
        outcomes(engine, (delivery(f"c{number}") for number in range(300)))
        assert engine.window.size >= before


class TestForbidden:
    def test_a_stage_that_may_not_be_posted_to_is_left_alone_and_the_right_is_named(
        self, fake: FakeApi, engine: ManagementApi
    ) -> None:
        text = b'{"message":"User: x is not authorized to perform: execute-api:ManageConnections"}'
        fake.texts[403] = text
        forbidden = [Delivery("feed", f"f{number}", HELLO, LONG_AGO) for number in range(1000)]
        allowed = [Delivery("calls", f"a{number}", HELLO, LONG_AGO) for number in range(100)]
        for each in forbidden:
            fake.script(each.connection_id, [403])
        reported = outcomes(engine, [*forbidden, *allowed])
        assert Counter(reported.values()) == {Outcome.FORBIDDEN: 1000, Outcome.DELIVERED: 100}
        asked = Counter(request.stage for request in fake.requests)
        assert asked["calls"] == 100
        assert asked["feed"] < 100
        assert engine.refusal == f"POST {fake.url}/feed/@connections/*: 403 {text.decode()}"
        assert "ManageConnections" in forbidden[-1].reason

    def test_one_odd_refusal_is_one_connections_own(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("odd", [403])
        reported = outcomes(engine, [delivery(f"c{number}") for number in range(50)] + [delivery("odd")])
        assert Counter(reported.values()) == {Outcome.DELIVERED: 50, Outcome.FORBIDDEN: 1}

    def test_the_next_delivery_asks_again(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.default = 403
        outcomes(engine, [delivery(f"c{number}") for number in range(50)])
        fake.default = 200
        assert outcomes(engine, [delivery("c")]) == {"c": Outcome.DELIVERED}


class TestFrames:
    def test_a_frame_that_is_too_large_is_left_out_and_the_others_go(
        self, fake: FakeApi, engine: ManagementApi
    ) -> None:
        fake.script("c", [200, 413])
        assert outcomes(engine, [delivery("c", frames(3))]) == {"c": Outcome.TOO_LARGE}
        assert fake.bodies("c") == [b"frame 0", b"frame 2"]

    def test_what_no_api_would_take_is_not_posted(self, fake: FakeApi, engine: ManagementApi) -> None:
        largest, larger = Frame(b"x" * MAX_FRAME_BYTES), Frame(b"x" * (MAX_FRAME_BYTES + 1))
        assert outcomes(engine, [delivery("c", [larger, largest])]) == {"c": Outcome.TOO_LARGE}
        assert fake.bodies("c", accepted=False) == [largest.body]

    def test_an_expired_frame_is_not_posted(self, fake: FakeApi, engine: ManagementApi) -> None:
        late, early = Frame(b"late", not_after=time.time() - 1), Frame(b"early", not_after=time.time() + 60)
        reported = outcomes(engine, [delivery("both", [late, early]), delivery("late", [late, late])])
        assert reported == {"both": Outcome.DELIVERED, "late": Outcome.EXPIRED}
        assert [request.body for request in fake.requests] == [b"early"]

    def test_a_frame_that_expires_in_back_off_is_not_posted_again(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(patience=20)
        fake.script("c", [500] * 1000)
        short_lived = Frame(b"short-lived", not_after=time.time() + 0.5)
        assert outcomes(engine, [delivery("c", [short_lived])]) == {"c": Outcome.EXPIRED}

    def test_a_frame_is_hashed_once(self) -> None:
        assert Frame(b"body").sha256 == sha256(b"body").hexdigest()

    def test_an_answer_that_asking_again_would_not_change_fails_at_once(
        self, fake: FakeApi, engine: ManagementApi
    ) -> None:
        fake.script("c", [400])
        bad = delivery("c")
        assert outcomes(engine, [bad]) == {"c": Outcome.FAILED}
        assert (bad.reason, len(fake.requests)) == ('400 {"message":"scripted"}', 1)


class TestClosing:
    def test_a_connection_is_closed_after_its_last_frame(self, fake: FakeApi, engine: ManagementApi) -> None:
        reported = outcomes(engine, [delivery("c", frames(2), close=True), delivery("bare", [], close=True)])
        assert reported == {"c": Outcome.DELIVERED, "bare": Outcome.DELIVERED}
        assert [request.method for request in fake.requests if request.connection_id == "c"] == [
            "POST",
            "POST",
            "DELETE",
        ]
        assert [request.method for request in fake.requests if request.connection_id == "bare"] == ["DELETE"]

    def test_after_a_close_posts_are_posts_again(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(max_in_flight=1)
        outcomes(engine, [delivery("a", close=True), delivery("b")])
        assert [(request.method, request.body) for request in fake.requests] == [
            ("POST", b"hello"),
            ("DELETE", b""),
            ("POST", b"hello"),
        ]

    def test_to_close_what_is_gone_is_to_learn_that_it_is_gone(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("c", [410])
        assert outcomes(engine, [delivery("c", [], close=True)]) == {"c": Outcome.GONE}

    def test_a_close_is_tried_again(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("c", [200, 500, 429])
        assert outcomes(engine, [delivery("c", close=True)]) == {"c": Outcome.DELIVERED}
        assert [request.method for request in fake.requests] == ["POST", "DELETE", "DELETE", "DELETE"]

    def test_who_cannot_be_served_in_time_can_be_closed(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(patience=0.2, jitter=lambda: 1.0)
        fake.script("slow", [429, 429, 429, 200])  # at 0, 0.05 and 0.15 s; a fourth post would be at 0.35 s
        slow = delivery("slow", frames(3))
        assert outcomes(engine, [slow], close_unserved=True) == {"slow": Outcome.CLOSED}
        assert [request.method for request in fake.requests][-1] == "DELETE"
        assert slow.sent == 0

    def test_who_cannot_even_be_closed_is_reported_for_what_was_wrong(
        self, fake: FakeApi, make_engine: MakeEngine
    ) -> None:
        engine = make_engine(patience=0.3)
        fake.script("slow", [429] * 1000)
        fake.script("gone", [400, 410])
        reported = outcomes(engine, [delivery("slow"), delivery("gone")], close_unserved=True)
        assert reported == {"slow": Outcome.THROTTLED, "gone": Outcome.GONE}


class TestAsking:
    def test_a_connection_may_only_be_asked_for(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.script("gone", [429, 410])
        reported = outcomes(engine, [delivery("there", [], ask=True), delivery("gone", [], ask=True)])
        assert reported == {"there": Outcome.DELIVERED, "gone": Outcome.GONE}
        assert [request.method for request in fake.requests] == ["GET"] * 3

    def test_a_right_to_post_is_no_right_to_ask(self, fake: FakeApi, engine: ManagementApi) -> None:
        fake.default = 403
        assert outcomes(engine, [delivery("c", [], ask=True)]) == {"c": Outcome.FORBIDDEN}
        assert engine.refusal.startswith("GET ")


class TestTime:
    @pytest.mark.parametrize("step", [Trouble.HANG, 429, 500])
    def test_it_returns_when_the_time_is_up(self, fake: FakeApi, make_engine: MakeEngine, step: Step) -> None:
        engine = make_engine(max_in_flight=10, post_timeout=60, patience=60)
        fake.default = step
        drawn: list[str] = []

        def many() -> Iterator[Delivery]:
            for number in range(50):
                drawn.append(f"c{number}")
                yield delivery(drawn[-1])

        began = time.monotonic()
        reported = outcomes(engine, many(), seconds=0.5)
        assert 0.5 <= time.monotonic() - began < 5
        assert sorted(reported) == sorted(drawn)
        assert Outcome.DELIVERED not in reported.values()

    def test_without_time_nothing_is_posted_and_the_caller_is_told(self, fake: FakeApi, engine: ManagementApi) -> None:
        assert outcomes(engine, [delivery("a"), delivery("b")], seconds=0) == {"a": Outcome.NOT_TRIED}
        assert fake.requests == []

    def test_frames_left_over_are_told(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(post_timeout=60)
        fake.script("c", [200, Trouble.HANG])
        cut = delivery("c", frames(3))
        assert outcomes(engine, [cut], seconds=0.5) == {"c": Outcome.NOT_TRIED}
        assert cut.sent == 1

    def test_the_quota_is_not_overdrawn(self, fake: FakeApi, make_engine: MakeEngine) -> None:
        engine = make_engine(posts_per_second=20)
        began = time.monotonic()
        outcomes(engine, (delivery(f"c{number}") for number in range(30)))
        assert len(fake.requests) == 30
        assert time.monotonic() - began >= 0.95  # ten were saved up, twenty come in a second


@pytest.mark.parametrize("seed", range(3))
def test_each_connection_gets_what_its_own_script_lets_through(
    fake: FakeApi, make_engine: MakeEngine, seed: int
) -> None:
    """In a crowd of which a third is in trouble of some kind, everyone's outcome and frames are as if alone."""
    chance = random.Random(seed)
    engine = make_engine(patience=30, max_in_flight=32, jitter=chance.random, post_timeout=1.0)  # enough on any machine
    ends: list[Step] = [200, 200, 200, 200, 200, 410, 413, Trouble.SLOW_BODY]
    passing: list[Step] = [429, 500, 503, Trouble.HANG, Trouble.RESET, Trouble.HALF_STATUS, Trouble.SLOW_ERROR]
    expected: dict[str, tuple[Outcome, list[bytes]]] = {}
    deliveries = []
    for number in range(150):
        connection_id = f"{chance.getrandbits(60):x}{number}="
        count = chance.randint(1, 4)
        before = chance.randint(0, count - 1)  # frames that go well before anything else
        trouble = [chance.choice(passing) for _ in range(chance.choice([0, 0, 0, 0, 1, 2]))]
        end = chance.choice(ends)
        fake.script(connection_id, [200] * before + trouble + [end])
        posted = bodies(count)
        if end == 410:
            expected[connection_id] = Outcome.GONE, posted[:before]
        elif end == 413:
            expected[connection_id] = Outcome.TOO_LARGE, posted[:before] + posted[before + 1 :]
        else:
            expected[connection_id] = Outcome.DELIVERED, posted
        deliveries.append(delivery(connection_id, frames(count)))
    reported = outcomes(engine, deliveries, seconds=60)
    assert {each: (reported[each], fake.bodies(each)) for each in expected} == expected
