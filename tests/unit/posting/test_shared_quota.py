"""Instances that share a budget: what each gets of it, on a clock and with a table that the test holds."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.posting.shared_quota import SHARES, SLOT_MS, Claim, SharedQuota
from realtime.posting.uses import ALLOWED, FAREWELL, LATE, NARROW, OTHERS, SWEEP, USES, Use
from tests.logs import LogLines

BUDGET = 5_000.0
SLOT = int(BUDGET * (1 - ALLOWED) * SLOT_MS / 1000)  # posts of a slot that are claimed
BEGAN_MS = 1_705_314_600_000


class World:
    """The clock, and the claims that all instances made of it; each is answered after `claim_ms`."""

    def __init__(self, claim_ms: float = 8.0) -> None:
        self.now_ms = 0.0
        self.claim_ms = claim_ms
        self.chance = random.Random(40)
        self.problem: Exception | None = None
        self.claimed: Counter[int] = Counter()
        self.asked: list[tuple[int, int]] = []  # the slot's number after the first, and how many posts

    def wall(self) -> float:
        return (BEGAN_MS + self.now_ms) / 1000

    def claim(self, slot_ms: int, posts: int, limit: int) -> Claim:
        slot = (slot_ms - BEGAN_MS) // SLOT_MS
        self.asked.append((slot, posts))
        if self.problem is not None:
            raise self.problem
        if self.claimed[slot] + posts > limit:
            return Claim(0, self.claimed[slot])
        self.claimed[slot] += posts
        return Claim(posts, self.claimed[slot])

    def quota(self, use: Use = OTHERS, budget: float = BUDGET) -> SharedQuota:
        return SharedQuota(
            self.claim, self._submit, posts_per_second=budget, use=use, wall=self.wall, jitter=self.chance.random
        )

    def _submit(self, claim: Callable[[], Claim]) -> Future[Claim]:
        return Answer(self, claim)


class Answer(Future[Claim]):
    """A claim's answer, which comes after a while."""

    def __init__(self, world: World, claim: Callable[[], Claim]) -> None:
        super().__init__()
        try:
            self.set_result(claim())
        except RuntimeError as problem:
            self.set_exception(problem)
        self._world, self._at_ms = world, world.now_ms + world.claim_ms

    def done(self) -> bool:
        return self._world.now_ms >= self._at_ms


class Instance:
    """Posts as a Poster does: `a_ms` posts each ms if there are so many tokens."""

    def __init__(self, quota: SharedQuota, a_ms: float = math.inf) -> None:
        self.quota = quota
        self.posted = 0
        self._a_ms = a_ms
        self._due = 0.0

    def step(self, now_ms: float) -> int:
        self._due += self._a_ms
        tokens = self.quota.refill(now_ms / 1000)
        posts = int(min(tokens, self._due))
        self._due -= posts
        self.quota.tokens -= posts
        self.posted += posts
        if self.quota.tokens < 1 and self._due >= 1:
            assert self.quota.seconds_to_next() >= 0
        return posts


def run(world: World, instances: list[Instance], seconds: float) -> list[int]:
    """Let instances post, and return how many posts all made in each ms."""
    made = []
    for _ in range(int(seconds * 1000)):
        made.append(sum(each.step(world.now_ms) for each in instances))
        world.now_ms += 1
    return made


def test_an_instance_alone_may_use_nearly_all_that_events_for_everyone_may() -> None:
    world = World()
    alone = Instance(world.quota())
    run(world, [alone], 1.0)
    alone.posted = 0
    run(world, [alone], 10.0)
    assert alone.posted > 0.98 * 0.9 * SLOT * 50
    assert len(world.asked) < 60 * 4  # write units


def test_several_share_the_budget_and_together_keep_to_it() -> None:
    world = World()
    eight = [Instance(world.quota()) for _ in range(8)]
    made = run(world, eight, 20.0)
    assert 0.95 * 0.9 * SLOT * 100 < sum(made) <= 0.9 * SLOT * 100
    assert max(world.claimed.values()) <= 0.9 * SLOT
    mean = sum(made) / 8
    assert all(0.7 * mean < each.posted < 1.4 * mean for each in eight)


def test_a_second_instance_gets_a_part_within_a_second() -> None:
    world = World()
    first, second = Instance(world.quota()), Instance(world.quota())
    run(world, [first], 2.0)
    run(world, [first, second], 1.0)
    before = first.posted, second.posted
    run(world, [first, second], 2.0)
    got = first.posted - before[0], second.posted - before[1]
    assert min(got) > 0.3 * sum(got)


def test_calls_may_use_what_is_kept_from_events_for_everyone() -> None:
    world = World()
    wide, narrow = [Instance(world.quota()) for _ in range(4)], Instance(world.quota(NARROW), a_ms=0.4)
    run(world, [*wide, narrow], 1.0)
    narrow.posted = 0
    run(world, [*wide, narrow], 5.0)
    assert narrow.posted >= 0.95 * 0.4 * 5_000
    assert max(world.claimed.values()) <= SLOT


def test_a_rare_call_needs_no_claim_and_does_not_wait() -> None:
    world = World()
    quota = world.quota(NARROW)
    for _ in range(60):
        assert quota.refill(world.now_ms / 1000) >= 4
        quota.tokens -= 4
        world.now_ms += 1_000
    assert world.asked == []


@pytest.mark.parametrize("use", set(USES.values()))
def test_without_claims_all_instances_of_a_use_make_its_allowed_part_of_the_budget(use: Use) -> None:
    world = World()
    world.problem = RuntimeError("no claims")
    world.claim_ms = math.inf
    one = Instance(world.quota(use))
    one.step(0.0)
    before = one.posted
    assert (before > 0) is (use.allowed > 0)
    run(world, [one], 0.3)  # so short that a claim may still be answered
    assert (one.posted - before) * use.instances <= BUDGET * use.allowed * 0.3 + use.instances


def test_the_allowances_are_the_documented_part_of_the_budget() -> None:
    assert sum(use.allowed for use in {NARROW, LATE, FAREWELL, SWEEP}) == ALLOWED == pytest.approx(0.075)


def test_a_sweep_takes_its_time_however_much_is_free() -> None:
    world = World()
    sweep = Instance(world.quota(SWEEP))
    run(world, [sweep], 1.0)
    sweep.posted = 0
    run(world, [sweep], 10.0)
    assert 0.95 * SWEEP.most * BUDGET * 10 < sweep.posted < 1.1 * SWEEP.most * BUDGET * 10


def test_what_was_claimed_for_a_slot_lapses_with_it() -> None:
    world = World()
    run(world, [one := Instance(world.quota())], 1.0)
    world.now_ms += SLOT_MS
    assert one.quota.refill(world.now_ms / 1000) == 0


def test_an_instance_asks_for_what_it_needs() -> None:
    world = World()
    run(world, [Instance(world.quota(), a_ms=0.5)], 10.0)
    posts = 0.5 * 10_000
    assert posts < sum(world.claimed.values()) < 1.6 * posts


@pytest.mark.parametrize("stalls", [False, True])
def test_if_the_budget_cannot_be_asked_each_uses_a_share_that_suffices_for_all(stalls: bool, logged: LogLines) -> None:
    world = World()
    one = Instance(world.quota())
    run(world, [one], 1.0)
    world.problem = RuntimeError("throttled")
    world.claim_ms = 3_000.0 if stalls else 8.0
    run(world, [one], 1.5)
    one.posted = 0
    run(world, [one], 4.0)
    assert 0.7 * 4 * BUDGET / SHARES < one.posted < 1.1 * 4 * BUDGET / SHARES
    assert {line["reason"] for line in logged.lines} == {"throttled"}
    world.problem, world.claim_ms = None, 8.0
    run(world, [one], 5.0)
    one.posted = 0
    run(world, [one], 1.0)
    assert one.posted > 0.8 * 0.9 * SLOT * 5


def test_an_instance_that_is_pressed_claims_less() -> None:
    world = World()
    one = Instance(world.quota())
    run(world, [one], 1.0)
    before = sum(world.claimed.values())
    for _ in range(20):
        run(world, [one], 0.25)
        one.quota.answered(world.now_ms / 1000, 50, 40, 0, 0)
    after = sum(world.claimed.values())
    run(world, [one], 1.0)
    assert sum(world.claimed.values()) - after < 0.1 * before


@given(
    posts=st.lists(
        st.tuples(st.sampled_from(list(USES.values())), st.one_of(st.just(math.inf), st.floats(0.01, 3.0))),
        min_size=1,
        max_size=8,
    ),
    claim_ms=st.floats(0.0, 60.0),
    budget=st.floats(10, 20_000),
)
def test_no_mix_of_instances_exceeds_the_budget(posts: list[tuple[Use, float]], claim_ms: float, budget: float) -> None:
    world = World(claim_ms)
    instances = [Instance(world.quota(use, budget), rate) for use, rate in posts]
    made = run(world, instances, 1.2)
    limit = max(1, int(budget * (1 - ALLOWED) * SLOT_MS / 1000))
    assert max(world.claimed.values(), default=0) <= limit
    allowed = sum(20 + budget * use.allowed / use.instances * 1.2 for use, _ in posts if use.allowed)
    assert sum(made) <= sum(world.claimed.values()) + allowed + 1e-6


def test_the_next_slot_is_claimed_by_what_this_one_used() -> None:
    world = World(claim_ms=0.0)
    quota = world.quota()

    def use(posts: int, at_ms: float) -> None:
        world.now_ms = at_ms
        assert quota.refill(at_ms / 1000) >= posts
        quota.tokens -= posts

    use(0, at_ms=0)
    quota.seconds_to_next()  # a request waits
    use(4, at_ms=1)
    use(0, at_ms=SLOT_MS * 0.55)
    assert world.asked == [(0, 4), (1, 8)], "twice as much, because it was not enough"
    use(6, at_ms=SLOT_MS * 1.1)
    use(0, at_ms=SLOT_MS * 1.6)
    assert world.asked[2:] == [(2, 13)], "a quarter more than 6 in six tenths of a slot"
