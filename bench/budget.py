"""Eight instances of `broadcast` and one account of 2,500 requests a second, of which a ninth party takes a part.

Four instances post to everyone without a pause, four post 50 calls a second together. The Posters, the shared quota and
the claims are the service's own; the clock, the network and the table are simulated, by a seed. Beside it, in the same
run: a fixed eighth of the budget for each instance, and the whole of 5,000 posts a second for each, as it was before.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.instances import ClaimsTable, Instance, World, shared
from harness.account import Account
from realtime.posting.delivery import Delivery, Outcome
from realtime.posting.pacing import Quota, TokenBucket
from realtime.posting.uses import LATE, NARROW, OTHERS, Use
from samsocket.template import parse_document
from tools import results

RATE, BURST = 2_500.0, 1_250.0  # of the account, in a smaller Region
SECONDS, COMPARED_SECONDS = 600.0, 120.0
CALLS_A_SECOND, DEVICES = 12.5, 2
RARE_CALLS_A_SECOND = 1.0
TAKEN = (0.0, 0.5, 0.9, 0.99)  # by the ninth party
ROOT = Path(__file__).resolve().parents[1]
INSTANCES: tuple[Use, ...] = (OTHERS,) * 4 + (NARROW,) * 4
BEFORE = 5_000.0  # PostsPerSecond, for each instance


@dataclass(frozen=True)
class Run:
    """What eight instances did."""

    seconds: float
    sent: Counter[int]  # requests in each second
    refused: int
    delivered: int
    late: int  # deliveries that left their lane, all of healthy clients
    closed: int  # of these, the clients that the late lane would close
    latencies: list[float]  # of the calls' posts, s
    units: int  # write units of claims

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.sent.total() / self.seconds

    @property
    def worst_second(self) -> float:
        """The most requests of a second, after the first, which may use what was saved up."""
        return max(count for second, count in self.sent.items() if second)

    def latency_ms(self, percent: int) -> float:
        """Return a percentile of the time that a call's post took."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000


MakeQuota = Callable[[World, ClaimsTable, Use], Quota]


def run(
    make_quota: MakeQuota,
    seconds: float,
    taken: float,
    uses: tuple[Use, ...] = INSTANCES,
    calls_a_second: float = CALLS_A_SECOND,
) -> Run:
    """Let instances post while a ninth party takes a part of the account."""
    world, table, sent, late = World(seed=10), ClaimsTable(), Counter[int](), list[Delivery]()
    account = Account(RATE, BURST, world.monotonic)
    if taken:
        account.others_take(taken, seconds + 60)
    *instances, straggling = [
        Instance(world, account, make_quota(world, table, use), sent, late) for use in (*uses, LATE)
    ]
    world.start(partial(straggling.serve_stragglers, seconds))
    for instance, use in zip(instances, uses, strict=True):
        if use is NARROW:
            world.start(partial(instance.post_events, calls_a_second, DEVICES, seconds))
        else:
            world.start(partial(instance.post_to_everyone, seconds))
    world.run()
    outcomes = sum((instance.outcomes for instance in instances), Counter[Outcome]())
    return Run(
        seconds,
        sent,
        account.refused,
        outcomes[Outcome.DELIVERED],
        outcomes[Outcome.LATE],
        straggling.closed,
        [each for instance in instances for each in instance.latencies],
        table.units,
    )


def posts_of(requests_per_second: int) -> float:
    """Return the budget of posts that follows from RequestsPerSecond."""
    template = parse_document((ROOT / "template.yaml").read_text(encoding="utf-8"))
    return float(template["Mappings"]["Shares"][str(requests_per_second)]["Posts"])


def unlimited(_world: World, _table: ClaimsTable, _use: Use) -> Quota:
    """Return a quota that never holds a post back."""
    return TokenBucket(1e6, burst=1e6)


def among_others(ways: Mapping[str, MakeQuota], budget: float) -> dict[str, float]:
    """Let eight instances post while a ninth party takes more and more of the account."""
    figures: dict[str, float] = {}
    names = (
        "requests/s",
        "to budget",
        "worst s",
        "429s",
        "delivered/s",
        "late",
        "closed",
        "call p50 ms",
        "p99 ms",
        "units/s",
    )
    print(f"{'a ninth party takes':<21}{'quota':<15}" + "".join(f"{name:>12}" for name in names))
    for taken in TAKEN:
        for name, make_quota in ways.items():
            made = run(make_quota, SECONDS if name == "shared" else COMPARED_SECONDS, taken)
            values = (
                f"{made.rate:,.0f}",
                f"{made.rate / budget:.3f}",
                f"{made.worst_second / budget:.3f}",
                f"{made.refused / made.sent.total():.1%}",
                f"{made.delivered / made.seconds:,.0f}",
                f"{made.late:,}",
                f"{made.closed:,}",
                f"{made.latency_ms(50):,.1f}",
                f"{made.latency_ms(99):,.1f}",
                f"{made.units / made.seconds:,.0f}",
            )
            print(f"{taken:<21.0%}{name:<15}" + "".join(f"{value:>12}" for value in values), flush=True)
            key = f"{name.replace(' ', '_')}_{taken * 100:.0f}"
            figures[f"{key}_to_budget"] = made.rate / budget
            figures[f"{key}_refused"] = made.refused / made.sent.total()
            figures[f"{key}_late"] = made.late
            figures[f"{key}_closed"] = made.closed
            figures[f"{key}_call_p99_ms"] = made.latency_ms(99)
            figures[f"{key}_units"] = made.units / made.seconds
    return figures


def alone(shared_way: MakeQuota, eighth: MakeQuota, budget: float) -> dict[str, float]:
    """Measure what one instance gets while the others have nothing to post, and what a rare call costs."""
    busy, fixed = (run(way, COMPARED_SECONDS, 0.0, (OTHERS,)).rate / budget for way in (shared_way, eighth))
    print(f"\none busy instance alone: {busy:.3f} of the budget; with a fixed eighth {fixed:.3f}")
    ours, bare = (run(way, SECONDS, 0.0, (NARROW,), RARE_CALLS_A_SECOND) for way in (shared_way, unlimited))
    print(
        f"an instance with a call a second: p99 {ours.latency_ms(99):.2f} ms, without a quota "
        f"{bare.latency_ms(99):.2f} ms; {ours.units} write units in {SECONDS:.0f} s"
    )
    return {
        "alone": busy,
        "alone_to_eighth": busy / fixed,
        "rare_call_p99": ours.latency_ms(99) / bare.latency_ms(99),
        "rare_call_units": float(ours.units),
    }


def main() -> None:
    """Measure, print and store the figures."""
    budget = posts_of(int(RATE))

    def ours(world: World, table: ClaimsTable, use: Use) -> Quota:
        return shared(world, table, budget, use)

    def eighth(_world: World, _table: ClaimsTable, _use: Use) -> Quota:
        return TokenBucket(budget / len(INSTANCES), burst=budget / len(INSTANCES) / 2)

    def before(_world: World, _table: ClaimsTable, _use: Use) -> Quota:
        return TokenBucket(BEFORE, burst=BEFORE / 2)

    figures = among_others({"shared": ours, "eighth": eighth, "before": before}, budget)
    results.save("budget", {**figures, **alone(ours, eighth, budget)})


if __name__ == "__main__":
    main()
