"""The Poster on a simulated API and clock: order and pace; the trouble of one connection affects no other."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from harness.account import Account
from realtime import metrics
from realtime.posting import pending
from realtime.posting.delivery import Delivery, Frame, Outcome, Result
from realtime.posting.lane import LONGEST_PROBE_S, PROBED_ID
from realtime.posting.pacing import TokenBucket
from realtime.posting.progress import CONGESTED_PATIENCE_S, Progress
from tests.support.posters import Frozen
from tests.unit.posting.simulated import EPOCH, Simulation, Step, Trouble, bodies, deliveries, delivery, frames


class TestPosting:
    def test_every_connection_gets_every_frame_in_order(self) -> None:
        simulation = Simulation()
        everyone = deliveries(200, frames(3))
        outcomes = simulation.outcomes(everyone)
        assert outcomes == {each.connection_id: Outcome.DELIVERED for each in everyone}
        assert all(simulation.api.bodies(each.connection_id) == bodies(3) for each in everyone)

    def test_nothing_is_posted_without_deliveries(self) -> None:
        simulation = Simulation()
        assert simulation.outcomes([]) == {}
        assert simulation.api.requests == []

    def test_a_result_says_what_was_sent_and_what_failed_last(self) -> None:
        simulation = Simulation(patience_s=0.1)
        simulation.api.script("a=", [200, *[429] * 9])
        each = delivery("a=", frames(3))
        assert simulation.results([each]) == {"a=": Result(each, Outcome.THROTTLED, 1, "429")}

    def test_the_pool_is_opened_when_something_is_posted_and_again_after_a_close(self) -> None:
        simulation = Simulation()
        simulation.poster.close()
        assert simulation.opened == 0
        for _ in range(2):
            simulation.outcomes([delivery("a=")])
        assert simulation.opened == 1
        simulation.poster.close()
        assert simulation.api.is_closed
        simulation.outcomes([delivery("a=")])
        assert simulation.opened == 2

    def test_credentials_are_renewed_while_the_poster_delivers(self) -> None:
        keys = (Frozen(f"KEY{number}") for number in range(100))
        simulation = Simulation(posts_per_second=2, credentials=lambda: next(keys))
        simulation.outcomes(deliveries(5))  # at 0, 0.5, 1, 1.5 and 2 s
        lines = [line for each in simulation.api.requests for line in each.headers]
        keys_used = [line.split("Credential=")[1][:4] for line in lines if "Credential=" in line]
        assert keys_used == [
            "KEY0",
            "KEY0",
            "KEY1",
            "KEY1",
            "KEY2",
        ]

    def test_the_poster_draws_no_more_deliveries_than_it_has_room_for(self) -> None:
        simulation = Simulation(max_in_flight=4)
        simulation.api.default = Trouble.HANG
        drawn: list[str] = []

        def endless() -> Iterator[Delivery]:
            for number in range(1_000_000):
                drawn.append(f"c{number}")
                yield delivery(drawn[-1])

        outcomes = simulation.outcomes(endless(), within_ms=300)
        assert len(drawn) == 5  # four in flight, and one ahead
        assert outcomes == dict.fromkeys(drawn, Outcome.NOT_TRIED)

    def test_a_caller_that_stops_leaves_nothing_behind(self) -> None:
        simulation = Simulation()
        simulation.api.script("c0=", [Trouble.HANG])
        some = simulation.poster.deliver(deliveries(1000), until=600)
        next(some)
        with pytest.raises(RuntimeError, match="one iterable at a time"):
            next(simulation.poster.deliver([delivery("other")], until=600))
        assert simulation.api.in_flight > 0
        some.close()  # type: ignore[attr-defined]
        assert simulation.api.in_flight == 0
        assert simulation.outcomes([delivery("next")]) == {"next": Outcome.DELIVERED}

    def test_an_error_of_the_source_of_deliveries_is_raised(self) -> None:
        def broken() -> Iterator[Delivery]:
            yield delivery("c")
            raise LookupError("the table is gone")

        simulation = Simulation()
        with pytest.raises(LookupError, match="the table is gone"):
            simulation.outcomes(broken())
        assert simulation.outcomes([delivery("next")]) == {"next": Outcome.DELIVERED}


class TestGone:
    def test_a_connection_that_is_gone_is_tried_once_and_holds_up_no_other(self) -> None:
        simulation = Simulation()
        simulation.api.script("gone", [410] * 9)
        outcomes = simulation.outcomes([delivery("gone", frames(3)), delivery("there", frames(3))])
        assert outcomes == {"gone": Outcome.GONE, "there": Outcome.DELIVERED}
        assert simulation.api.bodies("gone", accepted=False) == [b"frame 0"]

    def test_a_young_connection_is_given_time_to_open(self) -> None:
        simulation = Simulation()
        simulation.api.script("young", [410, 410, 410])
        assert simulation.outcomes([delivery("young", frames(2), age_s=0)]) == {"young": Outcome.DELIVERED}
        assert simulation.api.times_ms("young") == [0, 60, 170, 380, 390]

    def test_a_young_connection_that_never_opens_is_given_up_after_two_seconds(self) -> None:
        simulation = Simulation(patience_s=60.0)
        simulation.api.script("young", [410] * 1000)
        assert simulation.outcomes([delivery("young", age_s=0)]) == {"young": Outcome.NOT_YET_OPEN}
        assert simulation.api.times_ms("young") == [0, 60, 170, 380, 790, 1_600]


class TestBackOff:
    @pytest.mark.parametrize(
        "steps", [[429] * 3, [500], [503, 502, 504], [Trouble.HANG], [Trouble.RESET] * 2, [429, Trouble.HANG]], ids=str
    )
    def test_a_failure_is_tried_again_and_the_order_holds(self, steps: list[Step]) -> None:
        simulation = Simulation(patience_s=20.0)
        simulation.api.script("bad", [200, *steps])
        others = deliveries(50, frames(3))
        outcomes = simulation.outcomes([delivery("bad", frames(3)), *others])
        assert set(outcomes.values()) == {Outcome.DELIVERED}
        assert simulation.api.bodies("bad") == bodies(3)
        tried = simulation.api.bodies("bad", accepted=False)
        assert tried == [b"frame 0", *[b"frame 1"] * (len(steps) + 1), b"frame 2"]
        assert all(simulation.api.bodies(each.connection_id, accepted=False) == bodies(3) for each in others)

    @pytest.mark.parametrize(
        ("jitter", "times_ms"), [(1.0, [0, 60, 170, 380]), (0.5, [0, 35, 95, 205]), (0.0, [0, 10, 20, 30])]
    )
    def test_each_try_waits_for_a_random_part_of_its_back_off(self, jitter: float, times_ms: list[float]) -> None:
        simulation = Simulation(jitter=jitter)
        simulation.api.script("bad", [500] * 3)
        simulation.outcomes([delivery("bad")])
        assert simulation.api.times_ms("bad") == pytest.approx(times_ms, abs=3.1)  # it waits for a ms at least

    def test_connections_that_fail_together_are_not_tried_again_together(self) -> None:
        simulation = Simulation(jitter=None)
        everyone = deliveries(30)
        for each in everyone:
            simulation.api.script(each.connection_id, [500])
        simulation.outcomes(everyone)
        times_ms = {simulation.api.times_ms(each.connection_id)[1] for each in everyone}
        assert len(times_ms) > 10
        assert max(times_ms) - min(times_ms) > 20

    def test_a_connection_may_fail_for_two_and_a_half_seconds(self) -> None:
        simulation = Simulation()
        simulation.api.script("bad", [500] * 9)
        assert simulation.outcomes([delivery("bad")]) == {"bad": Outcome.FAILED}
        assert simulation.api.times_ms("bad") == [0, 60, 170, 380, 790, 1_600]  # the next would be at 2,610

    def test_others_are_served_while_one_waits(self) -> None:
        simulation = Simulation()
        simulation.api.script("bad", [Trouble.HANG])
        reported = list(simulation.outcomes([delivery("bad"), *deliveries(300)]))
        assert reported[-1] == "bad"

    @pytest.mark.parametrize(
        ("step", "outcome", "reason"),
        [
            (429, Outcome.THROTTLED, "429"),
            (500, Outcome.FAILED, "500"),
            (Trouble.HANG, Outcome.FAILED, "timed out"),
            (Trouble.RESET, Outcome.FAILED, "connection reset"),
        ],
    )
    def test_a_connection_is_given_up_when_its_patience_ends(self, step: Step, outcome: Outcome, reason: str) -> None:
        simulation = Simulation()
        simulation.api.script("bad", [step] * 1000)
        results = simulation.results([delivery("bad", frames(2)), delivery("good")])
        assert results["bad"][1:4] == (outcome, 0, reason)
        assert results["good"].outcome is Outcome.DELIVERED
        assert len(simulation.api.requests) > 2

    def test_connections_in_back_off_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pending, "_MAX_WAITING", 20)
        simulation = Simulation(max_in_flight=4, patience_s=60.0)
        simulation.api.default = 500
        drawn = deliveries(1000)
        outcomes = simulation.outcomes(iter(drawn), within_ms=1_000)
        assert 20 < len(outcomes) <= 20 + 4 + 1
        assert set(outcomes.values()) == {Outcome.FAILED, Outcome.NOT_TRIED}

    def test_a_connection_held_back_by_the_quota_is_not_given_up_for_it(self) -> None:
        simulation = Simulation(posts_per_second=2, patience_s=0.2)
        simulation.api.script("slow", [500, 500])
        assert simulation.outcomes([delivery("slow"), *deliveries(5)])["slow"] is Outcome.DELIVERED


class TestPace:
    def test_the_quota_is_not_overdrawn(self) -> None:
        simulation = Simulation(posts_per_second=20)
        simulation.outcomes(deliveries(30))
        times_ms = [each.at_ms for each in simulation.api.requests]
        assert times_ms[:10] == [0.0] * 10  # half a second's worth was saved up
        assert times_ms[10:] == pytest.approx([50 * number for number in range(1, 21)], abs=2)

    def test_the_window_grows_to_its_limit_while_it_holds_requests_back(self) -> None:
        simulation = Simulation()
        simulation.outcomes(deliveries(1000))
        assert Counter(each.at_ms for each in simulation.api.requests)[0.0] == 32
        assert simulation.api.most_at_once == 128

    def test_a_throttled_account_is_sent_fewer_requests_at_once(self) -> None:
        simulation = Simulation(max_in_flight=32)
        for each in deliveries(300):
            simulation.api.script(each.connection_id, [429])
        assert set(simulation.outcomes(deliveries(300)).values()) == {Outcome.DELIVERED}
        simulation.api.most_at_once = 0
        simulation.outcomes(deliveries(100))
        assert simulation.api.most_at_once < 32

    @pytest.mark.parametrize("tries", [1, 4])
    def test_slow_clients_do_not_slow_down_the_others(self, tries: int) -> None:
        """However often they are throttled, only their first 429 counts."""
        simulation = Simulation(max_in_flight=32, patience_s=10.0)
        for each in deliveries(300)[::30]:
            simulation.api.script(each.connection_id, [429] * tries)
        simulation.outcomes(deliveries(300))
        simulation.api.most_at_once = 0
        simulation.outcomes(deliveries(100))
        assert simulation.api.most_at_once == 32

    def test_later_429s_of_slow_clients_do_not_shrink_the_window(self) -> None:
        simulation = Simulation(max_in_flight=32, patience_s=60.0)
        slow = deliveries(12)
        for each in slow:
            simulation.api.script(each.connection_id, [500, *[429] * 12])  # their first failure is no 429
        simulation.outcomes(slow)
        simulation.api.most_at_once = 0
        simulation.outcomes(deliveries(100))
        assert simulation.api.most_at_once == 32

    def test_congestion_is_over_when_later_tries_are_accepted(self) -> None:
        simulation = Simulation(patience_s=0.5)
        for each in deliveries(30):
            simulation.api.script(each.connection_id, [429])
        simulation.api.script("slow", [429] * 1000)
        assert simulation.outcomes([delivery("slow"), *deliveries(30)])["slow"] is Outcome.THROTTLED
        assert simulation.clock.now_ms < 1_000

    def test_congestion_is_not_taken_to_last_over_a_pause(self) -> None:
        simulation = Simulation(patience_s=0.5)
        simulation.api.default = 429
        simulation.outcomes(deliveries(30), within_ms=100)
        simulation.clock.advance(60.0)
        assert simulation.outcomes([delivery("slow")]) == {"slow": Outcome.THROTTLED}
        assert simulation.clock.now_ms < 61_000

    def test_a_connection_is_tried_for_ten_seconds_in_an_endless_congestion(self) -> None:
        simulation = Simulation(patience_s=0.1)
        simulation.api.default = 429
        outcomes = Counter(simulation.outcomes(deliveries(30)).values())
        assert outcomes == {Outcome.THROTTLED: 30}
        assert CONGESTED_PATIENCE_S * 1000 - 1_000 < simulation.clock.now_ms < CONGESTED_PATIENCE_S * 1000 + 1_000


class TestForbidden:
    def test_a_stage_that_may_not_be_posted_to_is_left_alone_and_the_request_is_named(self) -> None:
        simulation = Simulation()
        forbidden = [delivery(f"f{number}=") for number in range(1000)]
        allowed = [delivery(f"a{number}=", endpoint="calls") for number in range(100)]
        for each in forbidden:
            simulation.api.script(each.connection_id, [403])
        results = simulation.results([*forbidden, *allowed])
        assert Counter(each.outcome for each in results.values()) == {Outcome.FORBIDDEN: 1000, Outcome.DELIVERED: 100}
        assert Counter(each.stage for each in simulation.api.requests) == {
            "feed": 32,
            "calls": 100,
        }
        assert simulation.poster.refusal == "POST https://api.example/feed/@connections/*: 403"
        assert results["f999="].reason == simulation.poster.refusal

    def in_turn(self, *steps: Step) -> list[Outcome]:
        """Return the outcomes of connections that meet these steps, one after another."""
        simulation = Simulation(max_in_flight=1)
        for number, step in enumerate(steps):
            simulation.api.script(f"{number}=", [step])
        outcomes = list(simulation.outcomes([delivery(f"{number}=") for number in range(len(steps))]).values())
        assert len(simulation.api.requests) == len(steps) or Outcome.FORBIDDEN in outcomes
        return outcomes

    def test_the_third_refusal_in_a_row_stops_posts_to_the_stage(self) -> None:
        failed, forbidden, delivered = Outcome.FAILED, Outcome.FORBIDDEN, Outcome.DELIVERED
        assert self.in_turn(403, 403, 200) == [failed, failed, delivered]
        assert self.in_turn(403, 403, 403, 200) == [forbidden] * 4

    @pytest.mark.parametrize(("status", "outcome"), [(200, Outcome.DELIVERED), (410, Outcome.GONE)])
    def test_an_answer_that_needs_the_right_clears_refusals(self, status: int, outcome: Outcome) -> None:
        refused = Outcome.FAILED
        assert self.in_turn(403, 403, status, 403, 403, status) == [refused, refused, outcome] * 2

    def test_an_answer_that_needs_no_right_clears_no_refusals(self) -> None:
        assert self.in_turn(403, 403, 400, 403) == [Outcome.FAILED, *[Outcome.FORBIDDEN] * 3]

    @pytest.mark.parametrize(("in_lane", "outcome"), [(False, Outcome.FAILED), (True, Outcome.LATE)])
    @pytest.mark.parametrize("position", [0, 500, 999])
    def test_a_single_refusal_among_successes_is_the_connections_alone(
        self, position: int, in_lane: bool, outcome: Outcome
    ) -> None:
        simulation = Simulation()
        simulation.api.script(f"c{position}=", [403] * 9)
        results = simulation.results(deliveries(1000), in_lane=in_lane)
        odd = results.pop(f"c{position}=")
        assert (odd.outcome, odd.reason) == (outcome, "403")
        assert {each.outcome for each in results.values()} == {Outcome.DELIVERED}
        assert simulation.clock.now_ms < 1_000

    @pytest.mark.parametrize("in_lane", [False, True])
    @pytest.mark.parametrize(("more", "method"), [({}, "POST"), ({"close": True}, "DELETE"), ({"ask": True}, "GET")])
    def test_whether_a_lone_refusal_is_a_missing_right_is_asked_of_a_connection_that_does_not_exist(
        self, more: dict[str, bool], method: str, in_lane: bool
    ) -> None:
        for status, outcome in (
            (403, Outcome.FORBIDDEN),
            (410, Outcome.LATE if in_lane else Outcome.FAILED),
            (429, Outcome.LATE if in_lane else Outcome.FAILED),  # no answer that tells
        ):
            simulation = Simulation()
            simulation.api.script("odd=", [403])
            simulation.api.default = status
            each = delivery("odd=", [] if more else frames(1), **more)
            assert simulation.outcomes([each], in_lane=in_lane) == {"odd=": outcome}
            asked = [(each.method, each.connection_id) for each in simulation.api.requests]
            assert asked == [(method, "odd="), (method, PROBED_ID), (method, PROBED_ID)]

    def test_a_refusal_that_nothing_explains_when_the_time_is_up_is_a_failure(self) -> None:
        simulation = Simulation()
        simulation.api.script("odd=", [403])
        simulation.api.script("slow=", [Trouble.HANG])
        outcomes = simulation.outcomes([delivery("odd="), delivery("slow=")], within_ms=100)
        assert outcomes == {"odd=": Outcome.FAILED, "slow=": Outcome.NOT_TRIED}

    def test_a_right_to_post_does_not_include_a_right_to_ask(self) -> None:
        simulation = Simulation(max_in_flight=1)
        for number in range(3):
            simulation.api.script(f"{number}=", [403])
        questions = [delivery(f"{number}=", [], ask=True) for number in range(4)]
        outcomes = simulation.outcomes([*questions, delivery("posted")])
        assert [*outcomes.values()] == [Outcome.FORBIDDEN] * 4 + [Outcome.DELIVERED]
        assert simulation.poster.refusal.startswith("GET ")
        assert [each.method for each in simulation.api.requests] == ["GET"] * 3 + ["POST"]

    def test_the_next_call_of_deliver_tries_the_stage_again(self) -> None:
        simulation = Simulation()
        simulation.api.default = 403
        simulation.outcomes(deliveries(50))
        simulation.api.default = 200
        assert simulation.outcomes([delivery("c")]) == {"c": Outcome.DELIVERED}


class TestClosing:
    def methods(self, simulation: Simulation, connection_id: str) -> list[str]:
        return [each.method for each in simulation.api.requests if each.connection_id == connection_id]

    def test_a_connection_is_closed_after_its_last_frame(self) -> None:
        simulation = Simulation()
        outcomes = simulation.outcomes([delivery("c", frames(2), close=True), delivery("bare", [], close=True)])
        assert outcomes == {"c": Outcome.DELIVERED, "bare": Outcome.DELIVERED}
        assert self.methods(simulation, "c") == ["POST", "POST", "DELETE"]
        assert self.methods(simulation, "bare") == ["DELETE"]
        assert simulation.api.requests[-1].body == b""


HELD_MS = 300  # how long a lane may be held


def throttled_until(simulation: Simulation, until_ms: float, then: Callable[[str], Step]) -> None:
    """Let all requests meet a 429 until a time, and then what their path makes of them."""
    send = simulation.api.send

    def meet(task: Progress[Any], method: str, path: str, headers: list[str], body: bytes) -> None:
        simulation.api.default = 429 if simulation.clock.now_ms < until_ms else then(path)
        send(task, method, path, headers, body)

    simulation.api.send = meet  # type: ignore[method-assign]


class TestLane:
    @pytest.mark.parametrize("step", [Trouble.HANG, Trouble.RESET, 429, 500, 400], ids=str)
    @pytest.mark.parametrize("stragglers", [1, 50])
    def test_stragglers_hold_the_lane_for_less_than_300_ms_whatever_they_do(self, step: Step, stragglers: int) -> None:
        """Before there was a lane, one that hung held it for 12.2 s, a hundred for 38 s, and a 429 for 2.6 or 5 s."""
        everyone = deliveries(1000)
        alone = Simulation()
        alone.outcomes(everyone, in_lane=True)
        simulation = Simulation()
        late = [f"late {number}" for number in range(stragglers)]
        for each in late:
            simulation.api.script(each, [step] * 1000)
        drawn = [delivery(late.pop()) if number % 20 == 9 and late else each for number, each in enumerate(everyone)]
        outcomes = simulation.outcomes(drawn, in_lane=True)
        assert Counter(outcomes.values()) == {Outcome.DELIVERED: 1000 - stragglers, Outcome.LATE: stragglers}
        assert simulation.clock.now_ms <= alone.clock.now_ms + HELD_MS

    def test_a_lane_of_nothing_but_stragglers_ends_as_soon(self) -> None:
        simulation = Simulation()
        for each in deliveries(30):
            simulation.api.script(each.connection_id, [Trouble.HANG])
        assert set(simulation.outcomes(deliveries(30), in_lane=True).values()) == {Outcome.LATE}
        assert simulation.clock.now_ms <= HELD_MS
        assert simulation.api.in_flight == 0

    @pytest.mark.parametrize("number", [1, 30])
    def test_an_api_that_answers_nobody_for_a_while_makes_nobody_late(self, number: int) -> None:
        """Before, all of them left, and those of which the next batch had news were closed."""
        simulation = Simulation()
        simulation.outcomes(deliveries(30), in_lane=True)
        simulation.api.silent_until_ms = simulation.clock.now_ms + 1_500
        assert set(simulation.outcomes(deliveries(number), in_lane=True).values()) == {Outcome.DELIVERED}
        assert simulation.clock.now_ms == pytest.approx(simulation.api.silent_until_ms, abs=20)

    def test_an_api_that_answers_nobody_holds_a_lane_for_two_seconds(self) -> None:
        simulation = Simulation()
        simulation.api.default = Trouble.HANG
        assert set(simulation.outcomes(deliveries(30), in_lane=True).values()) == {Outcome.LATE}
        assert 2_000 <= simulation.clock.now_ms <= 2_800
        assert simulation.api.in_flight == 0
        assert len(simulation.api.requests) <= 60

    def test_an_api_that_is_always_slow_holds_a_lane_for_little_more_than_two_seconds(self) -> None:
        simulation = Simulation()
        simulation.api.latency_ms = 200
        (result,) = simulation.results([delivery("c", frames(100))], in_lane=True).values()
        assert result.outcome is Outcome.LATE
        assert 2_000 <= simulation.clock.now_ms <= 5_000

    def test_a_straggler_leaves_a_lane_as_soon_although_the_api_has_to_be_tried(self) -> None:
        simulation = Simulation()
        simulation.outcomes(deliveries(30), in_lane=True)
        began_ms = simulation.clock.now_ms
        simulation.api.script("hangs", [Trouble.HANG])
        assert simulation.outcomes([delivery("hangs")], in_lane=True) == {"hangs": Outcome.LATE}
        assert simulation.clock.now_ms - began_ms <= 80

    def test_the_last_connection_is_waited_for_only_as_long_as_answers_take(self) -> None:
        simulation = Simulation()
        simulation.api.script("hangs", [Trouble.HANG])
        assert simulation.outcomes([*deliveries(20), delivery("hangs")], in_lane=True)["hangs"] is Outcome.LATE
        assert simulation.clock.now_ms <= 80

    def test_the_last_connection_is_waited_for_longer_where_answers_take_longer(self) -> None:
        simulation = Simulation()
        simulation.api.latency_ms = 100
        simulation.outcomes(deliveries(20), in_lane=True)
        before_ms = simulation.clock.now_ms
        simulation.api.latency_ms = 120
        assert simulation.outcomes([delivery("slower")], in_lane=True) == {"slower": Outcome.DELIVERED}
        assert simulation.clock.now_ms - before_ms == pytest.approx(120, abs=1)

    def test_a_late_result_says_what_was_delivered_and_why_it_is_late(self) -> None:
        simulation = Simulation()
        simulation.api.script("hangs", [200, Trouble.HANG])
        simulation.api.script("slow", [200, 200, *[429] * 9])
        results = simulation.results([delivery("hangs", frames(3)), delivery("slow", frames(3))], in_lane=True)
        assert {name: each[1:] for name, each in results.items()} == {
            "hangs": (Outcome.LATE, 1, "no answer"),
            "slow": (Outcome.LATE, 2, "429"),
        }

    def test_a_connection_that_recovers_in_time_is_served(self) -> None:
        simulation = Simulation()
        simulation.api.script("slow", [429, 500])
        simulation.api.script("young", [410, 410])
        each = [delivery("slow", frames(2)), delivery("young", frames(2), age_s=0)]
        assert set(simulation.outcomes(each, in_lane=True).values()) == {Outcome.DELIVERED}

    def test_429s_that_the_account_explains_make_no_straggler(self) -> None:
        """One in ten requests meets the account's limit, so some connections do several times in a row."""
        simulation = Simulation()
        everyone = deliveries(2000)
        for each in everyone[::10]:
            simulation.api.script(each.connection_id, [429])
        simulation.api.script(everyone[1005].connection_id, [429] * 5)
        simulation.api.script(everyone[1006].connection_id, [429] * 1000)
        outcomes = simulation.outcomes(everyone, in_lane=True)
        assert Counter(outcomes.values()) == {Outcome.DELIVERED: 1999, Outcome.LATE: 1}
        assert outcomes[everyone[1006].connection_id] is Outcome.LATE
        assert simulation.clock.now_ms < 6_000

    def test_a_young_connection_that_does_not_open_holds_the_lane_no_longer_than_others(self) -> None:
        simulation = Simulation()
        simulation.api.script("young", [410] * 1000)
        assert simulation.outcomes([delivery("young", age_s=14)], in_lane=True) == {"young": Outcome.LATE}
        assert simulation.clock.now_ms <= HELD_MS

    def test_many_frames_to_a_healthy_connection_are_delivered(self) -> None:
        simulation = Simulation()
        assert simulation.outcomes([delivery("c", frames(100))], in_lane=True) == {"c": Outcome.DELIVERED}
        assert simulation.clock.now_ms > HELD_MS

    def test_the_frames_of_a_connection_that_is_always_slow_do_not_each_have_250_ms(self) -> None:
        simulation = Simulation()
        simulation.api.latencies_ms["c"] = 200
        (result,) = simulation.results([delivery("c", frames(100))], in_lane=True).values()
        assert (result.outcome, result.sent) == (Outcome.LATE, 1)

    def test_frames_that_wait_for_the_quota_are_not_late(self) -> None:
        simulation = Simulation(posts_per_second=10)
        outcomes = simulation.outcomes(deliveries(10, frames(3)), in_lane=True)
        assert set(outcomes.values()) == {Outcome.DELIVERED}
        assert simulation.clock.now_ms > 2_000

    def test_the_time_in_which_the_next_recipients_are_read_does_not_count(self) -> None:
        simulation = Simulation()

        def slowly_read() -> Iterator[Delivery]:
            yield from deliveries(20)
            simulation.clock.advance(5.0)
            yield delivery("last")

        assert set(simulation.outcomes(slowly_read(), in_lane=True).values()) == {Outcome.DELIVERED}

    def test_the_time_in_which_the_process_does_not_run_does_not_count(self) -> None:
        simulation = Simulation()
        wait = simulation.api.wait

        def oversleep(seconds: float) -> None:
            simulation.api.wait = wait  # type: ignore[method-assign]
            simulation.clock.advance(5.0)

        simulation.api.wait = oversleep  # type: ignore[method-assign]
        simulation.api.latency_ms = 5_010
        assert set(simulation.outcomes(deliveries(3), in_lane=True).values()) == {Outcome.DELIVERED}

    def test_the_time_in_which_the_process_does_not_run_gives_none_to_what_begins_afterwards(self) -> None:
        simulation = Simulation(posts_per_second=20)
        simulation.outcomes(deliveries(10), in_lane=True)  # so that the next waits for the quota
        simulation.api.script("hangs", [Trouble.HANG])
        wait = simulation.api.wait

        def oversleep(seconds: float) -> None:
            simulation.api.wait = wait  # type: ignore[method-assign]
            simulation.clock.advance(1.5)

        simulation.api.wait = oversleep  # type: ignore[method-assign]
        assert simulation.outcomes([delivery("hangs")], in_lane=True) == {"hangs": Outcome.LATE}
        assert simulation.clock.now_ms <= 1_500 + 2 * HELD_MS

    @pytest.mark.parametrize("step", [500, 429, Trouble.RESET], ids=str)
    def test_the_time_in_which_a_second_try_waits_for_the_quota_makes_nobody_late(self, step: Step) -> None:
        simulation = Simulation(posts_per_second=10, jitter=0.5)
        simulation.api.script("c3=", [step])
        everyone = deliveries(5)  # as many as the quota lets through at once
        assert set(simulation.outcomes(everyone, in_lane=True).values()) == {Outcome.DELIVERED}
        assert simulation.api.times_ms("c3=") == [0, pytest.approx(100, abs=2)]  # the back-off ended after 35 ms

    def test_a_throttled_account_makes_nobody_late(self) -> None:
        simulation = Simulation(jitter=0.5)
        account = simulation.api.account = Account(rate=1000, burst=50, clock=simulation.clock.monotonic)
        account.others_take(share=0.95, seconds=3)
        outcomes = Counter(simulation.outcomes(deliveries(300), in_lane=True).values())
        assert account.refused > 300
        assert outcomes == {Outcome.DELIVERED: 300}

    def test_a_throttled_account_hands_back_what_was_not_served_in_the_functions_time(self) -> None:
        simulation = Simulation()
        simulation.api.default = 429
        outcomes = simulation.outcomes(deliveries(30), in_lane=True, within_ms=57_000)
        assert set(outcomes.values()) == {Outcome.THROTTLED}
        assert len(outcomes) == 30

    def test_slow_clients_that_are_most_of_a_quiet_lane_do_not_pass_for_a_throttled_account(self) -> None:
        """Tries of a connection that does not exist show that the account is accepted."""
        simulation = Simulation()
        slow = [delivery(f"slow {number}") for number in range(12)]
        for each in slow:
            simulation.api.script(each.connection_id, [429] * 1000)
        outcomes = simulation.outcomes(slow, in_lane=True)
        assert set(outcomes.values()) == {Outcome.LATE}
        assert len(outcomes) == 12
        assert simulation.clock.now_ms <= HELD_MS

    @pytest.mark.parametrize("throttled_ms", range(6_000, 8_000, 100))
    def test_a_connection_that_hangs_when_the_account_is_back_leaves_as_any_other(self, throttled_ms: int) -> None:
        simulation = Simulation(jitter=0.5)
        throttled_until(simulation, throttled_ms, lambda path: Trouble.HANG if "c0" in path else 200)
        outcomes = simulation.outcomes(deliveries(6), in_lane=True)
        assert outcomes.pop("c0=") is Outcome.LATE
        assert set(outcomes.values()) == {Outcome.DELIVERED}
        last_ms = max(each.at_ms for each in simulation.api.requests if each.step == 200)
        began_ms = next(each.at_ms for each in simulation.api.requests if each.step is Trouble.HANG)
        assert simulation.clock.now_ms - max(last_ms, began_ms) <= HELD_MS

    def test_probes_that_wait_for_the_quota_do_not_pile_up_before_deliveries(self) -> None:
        simulation = Simulation(jitter=0.5, quota=TokenBucket(2.0, 1.0))
        throttled_until(simulation, 10_000, lambda _: 200)
        outcomes = simulation.outcomes(deliveries(4), in_lane=True)
        assert Outcome.DELIVERED in outcomes.values()
        assert simulation.clock.now_ms <= 12_000

    def test_an_account_that_stays_throttled_is_tried_more_and_more_rarely(self) -> None:
        simulation = Simulation()
        simulation.api.default = 429
        simulation.outcomes(deliveries(12), in_lane=True, within_ms=5_000)
        probed = simulation.api.times_ms(PROBED_ID)
        gaps = [after - before for before, after in pairwise(probed)]
        assert len(gaps) >= 5
        assert gaps[0] < gaps[1] < gaps[2]
        assert min(gaps[2:]) >= LONGEST_PROBE_S * 1000


def test_all_requests_are_counted_and_those_that_met_a_429(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[object] = Counter()
    monkeypatch.setattr(metrics, "count", lambda kind, number=1: counted.update({kind: number}))
    simulation = Simulation()
    for number in range(3):
        simulation.api.script(f"c{number}=", [429, 500, 429])
    simulation.outcomes(deliveries(10))
    steps = [each.step for each in simulation.api.requests]
    assert (counted[metrics.POSTS], counted[metrics.THROTTLED]) == (len(steps), steps.count(429)) == (19, 6)


class TestTime:
    @pytest.mark.parametrize(
        ("step", "outcomes"),
        [
            (Trouble.HANG, {Outcome.NOT_TRIED}),
            (429, {Outcome.THROTTLED, Outcome.NOT_TRIED}),
            (500, {Outcome.FAILED, Outcome.NOT_TRIED}),
        ],
    )
    def test_the_poster_returns_when_the_time_is_up(self, step: Step, outcomes: set[Outcome]) -> None:
        simulation = Simulation(max_in_flight=10, patience_s=60.0)
        simulation.api.default = step
        drawn: list[str] = []

        def many() -> Iterator[Delivery]:
            for number in range(5_000):
                drawn.append(f"c{number}")
                yield delivery(drawn[-1])

        reported = simulation.outcomes(many(), within_ms=500)
        assert 500 <= simulation.clock.now_ms < 502
        assert sorted(reported) == sorted(drawn)
        assert set(reported.values()) == outcomes

    def test_without_time_nothing_is_posted_and_the_result_says_so(self) -> None:
        simulation = Simulation()
        assert simulation.outcomes([delivery("a"), delivery("b")], within_ms=0) == {"a": Outcome.NOT_TRIED}
        assert simulation.api.requests == []

    def test_a_result_says_how_many_frames_are_done_when_the_time_is_up(self) -> None:
        simulation = Simulation()
        simulation.api.script("c", [200, Trouble.HANG])
        (result,) = simulation.results([delivery("c", frames(3))], within_ms=500).values()
        assert (result.outcome, result.sent) == (Outcome.NOT_TRIED, 1)


@pytest.mark.parametrize("seed", range(20))
def test_each_connection_gets_what_its_own_script_lets_through(seed: int) -> None:
    """If a third of many connections is in trouble, each has the outcome and the frames that it would have alone."""
    chance = random.Random(seed)
    simulation = Simulation(patience_s=30.0, max_in_flight=32, jitter=chance.random())
    ends: list[Step] = [200, 200, 200, 200, 200, 410, 413]
    passing: list[Step] = [429, 500, 503, Trouble.HANG, Trouble.RESET]
    expected: dict[str, tuple[Outcome, list[bytes]]] = {}
    everyone = []
    for number in range(150):
        connection_id = f"{chance.getrandbits(60):x}{number}="
        count = chance.randint(1, 4)
        before = chance.randint(0, count - 1)  # frames that succeed before any failure
        trouble = [chance.choice(passing) for _ in range(chance.choice([0, 0, 0, 0, 1, 2]))]
        end = chance.choice(ends)
        simulation.api.script(connection_id, [200] * before + trouble + [end])
        posted = bodies(count)
        if end == 410:
            expected[connection_id] = Outcome.GONE, posted[:before]
        elif end == 413:
            expected[connection_id] = Outcome.TOO_LARGE, posted[:before] + posted[before + 1 :]
        else:
            expected[connection_id] = Outcome.DELIVERED, posted
        everyone.append(delivery(connection_id, frames(count)))
    outcomes = simulation.outcomes(everyone)
    assert {each: (outcomes[each], simulation.api.bodies(each)) for each in expected} == expected


class TestWhatIsSent:
    def test_a_frame_that_is_too_late_is_passed_over_and_all_others_are_posted(self) -> None:
        simulation = Simulation()
        late = Frame(b"late", not_after_s=EPOCH - 1)
        some = [delivery("a=", [late]), delivery("b=", [late, late, *frames(2)]), delivery("c=")]
        assert simulation.outcomes(some) == {"a=": Outcome.EXPIRED, "b=": Outcome.DELIVERED, "c=": Outcome.DELIVERED}
        assert simulation.api.bodies("b=") == bodies(2)
        assert [each.at_ms for each in simulation.api.requests if each.connection_id == "c="] == [0]

    def test_what_is_refused_for_all_ends_at_once(self) -> None:
        simulation = Simulation()
        simulation.api.default = 403
        outcomes = simulation.outcomes(deliveries(500))
        assert set(outcomes.values()) == {Outcome.FORBIDDEN}
        assert simulation.clock.now_ms < 100

    @pytest.mark.parametrize(("status", "is_good"), [(200, True), (299, True), (300, False)])
    def test_only_a_2xx_is_a_success(self, status: int, is_good: bool) -> None:
        simulation = Simulation(patience_s=0.1)
        simulation.api.default = status
        (outcome,) = simulation.outcomes([delivery("a=")]).values()
        assert (outcome is Outcome.DELIVERED) is is_good

    def test_no_refusal_is_reported_before_there_was_one(self) -> None:
        assert Simulation().poster.refusal == ""

    def test_connections_that_wait_equally_long_go_on_in_their_order(self) -> None:
        simulation = Simulation()
        names = [f"{number}=" for number in range(5)]
        for name in names:
            simulation.api.script(name, [500])
        assert simulation.outcomes(map(delivery, names)) == dict.fromkeys(names, Outcome.DELIVERED)
        assert [each.connection_id for each in simulation.api.requests] == names + names
