"""The simulation of many connections: small cases that can be computed by hand, and docs/scale.md."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from operate.cost import SCENARIOS, Cost
from tools import marks
from tools.scale import cells, demand, fanout, picture, report, storms
from tools.scale.design import Design, measured
from tools.scale.flow import Bucket, Lateness, Waiting
from tools.scale.quotas import QUOTAS, with_defaults
from tools.scale.tables import cell_table, check_table, limit_table, mesh_table, quota_table, time

DESIGN = Design(
    connect_writes=8,
    watch_writes=2,
    connect_cpu_ms=2,
    start_cpu_ms=300,
    posts_a_core=20_000,
    silence_s=240,
    first_pause_s=0.5,
    longest_pause_s=30,
    watched=0,
)
PLENTY = with_defaults(table_writes=1e9, concurrency=1e9, starts=1e9)


# ---- work that waits ------------------------------------------------------------------------------------------------


def test_a_bucket_saves_no_more_than_its_burst() -> None:
    bucket = Bucket(rate=10, burst=5)
    bucket.take(5)
    assert bucket.level == 0
    bucket.refill(0.2)
    assert bucket.level == 2
    bucket.refill(60)
    assert bucket.level == 600, "a step may use its own rate"
    bucket.refill(0.1)
    assert bucket.level == 5, "and what it leaves is the burst"


def test_what_waited_longest_is_taken_first_and_is_as_late_as_it_waited() -> None:
    waiting, lateness = Waiting(), Lateness()
    waiting.put(0, 10)
    waiting.put(5, 10)
    assert waiting.take(15, 10, lateness) == 15
    assert lateness.parts == [(10, 10), (5, 5)]
    assert waiting.amount == 5
    assert waiting.take(15, 10, lateness) == 5, "there is no more"


def test_a_quantile_counts_amounts() -> None:
    lateness = Lateness([(1, 98), (7, 1), (9, 1)])
    assert [lateness.quantile(share) for share in (0.5, 0.99, 1)] == [1, 7, 9]
    assert Lateness().quantile(0.5) == 0


# ---- storms ---------------------------------------------------------------------------------------------------------


def test_a_storm_lasts_as_long_as_the_quota_of_new_connections_needs() -> None:
    storm = storms.simulate(100_000, replace(DESIGN, live_share=1), PLENTY)
    assert storm.limit == "connects"
    assert storm.most_s >= 100_000 / 500 - 1
    assert storm.all_s < 100_000 / 500 + 40, "the last ones come back within their longest pause"
    assert storm.half_s == pytest.approx(100, abs=2)


def test_clients_that_come_slowly_are_let_in_as_they_come() -> None:
    storm = storms.simulate(6_000, DESIGN, PLENTY, within_s=60)
    assert storm.limit is None
    assert storm.all_s == pytest.approx(60, abs=1)
    assert storm.attempts == pytest.approx(6_000)


def test_four_sockets_take_four_times_as_long() -> None:
    design = replace(DESIGN, live_share=0.5)
    one, four = (storms.simulate(50_000, replace(design, sockets=number), PLENTY).most_s for number in (1, 4))
    assert four == pytest.approx(4 * one, rel=0.1)


def test_what_a_connection_writes_may_be_the_tightest_quota() -> None:
    quotas = with_defaults(table_writes=400)  # 4 units each of the busiest table: 100 a second
    storm = storms.simulate(20_000, DESIGN, quotas)
    assert storm.limit == "table_writes"
    assert storm.most_s == pytest.approx(20_000 / 100, rel=0.05)
    watching = storms.simulate(20_000, replace(DESIGN, watched=8), quotas)  # 20 units each
    assert watching.most_s == pytest.approx(5 * storm.most_s, rel=0.05)


def test_a_small_region_lets_the_share_of_handshakes_through() -> None:
    storm = storms.simulate(25_000, DESIGN, with_defaults(requests=2_500, table_writes=1e9))
    assert storm.limit == "requests"
    assert storm.most_s == pytest.approx(25_000 / (125 * 5 / 6), rel=0.05)  # the stage `live`


def test_a_third_of_the_handshakes_on_live_makes_a_storm_longer() -> None:
    quotas = with_defaults(requests=2_500, table_writes=1e9)
    most, third = (storms.simulate(25_000, replace(DESIGN, live_share=share), quotas) for share in (5 / 6, 1 / 3))
    assert third.most_s == pytest.approx(2.5 * most.most_s, rel=0.05)


def test_a_new_account_has_too_few_executions_for_a_storm() -> None:
    slow = replace(DESIGN, connect_cpu_ms=0, table_ms=1_000)
    storm = storms.simulate(2_000, slow, with_defaults(concurrency=10))
    assert storm.limit == "concurrency"
    assert storm.peak_concurrency == pytest.approx(10, rel=0.1)


def test_documented_clients_give_up_after_five_waves() -> None:
    storm = storms.simulate(100_000, DESIGN, PLENTY, back_off=storms.DOCUMENTED)
    waves = 5 * QUOTAS["connects"].burst
    assert storm.lost == pytest.approx(100_000 - waves, rel=0.01)
    assert storm.all_s == pytest.approx(2 + 4 + 8 + 16 + 32, abs=1)
    assert math.isinf(storm.most_s)


def test_our_clients_pauses_double_up_to_the_longest() -> None:
    pause = storms.ours(DESIGN).pause_s
    assert [pause(failures) for failures in (0, 1, 2, 5, 6, 20)] == [0.5, 1, 2, 16, 30, 30]


# ---- messages that go out -------------------------------------------------------------------------------------------


def test_an_event_for_everybody_takes_its_posts_by_their_share_of_the_quota() -> None:
    outcome = fanout.broadcast(58_500, DESIGN, QUOTAS)
    assert outcome.seconds == pytest.approx(10 + DESIGN.poll_s)  # 65 % of 10,000/s, of which 90 %
    assert outcome.limit == "requests"


def test_with_a_large_quota_the_core_of_the_lane_is_the_limit_and_shards_raise_it() -> None:
    quotas = with_defaults(requests=1e6)
    one = fanout.broadcast(1e6, replace(DESIGN, posts_in_flight=10_000), quotas)
    four = fanout.broadcast(1e6, replace(DESIGN, posts_in_flight=10_000, audience_shards=4), quotas)
    assert one.limit == "lane"
    assert one.seconds - DESIGN.poll_s == pytest.approx(50)
    assert four.seconds - DESIGN.poll_s == pytest.approx(12.5)


def test_connections_that_hang_hold_places_of_the_lane() -> None:
    # 100 places: 1 % holds each for 1 s, the others for 10 ms: 100 / (0.0099 + 0.01) a second.
    design = replace(DESIGN, posts_in_flight=100, post_ms=10, lane_hold_s=1)
    assert fanout.lanes_a_second(design, stuck=0.01) == pytest.approx(100 / 0.0199)
    assert fanout.broadcast(10_000, design, QUOTAS, stuck=0.01).reconnecting == 100


def test_few_changes_reach_distinct_recipients_and_many_reach_all() -> None:
    assert fanout.distinct(1, 10, 1_000) == pytest.approx(10)
    assert fanout.distinct(2, 500, 1_000) == pytest.approx(750)
    assert fanout.distinct(3, 1_000, 1_000) == 1_000
    assert fanout.distinct(3, 10, 0) == 0


def test_a_pass_merges_what_came_meanwhile_so_that_lateness_is_two_passes_at_most() -> None:
    found = fanout.presence(50, 20_000, 20_000, DESIGN, QUOTAS, seconds=300)
    a_pass = 20_000 / 5_850 + DESIGN.poll_s
    assert found.lateness.quantile(1) <= 2 * a_pass + 1
    assert found.carried == 1
    assert found.posts < 20_000 * 300 / a_pass * 1.1
    assert found.merged > 10 * found.posts


def test_without_batches_each_state_is_a_post_and_more_than_the_quota_carries_stays_behind() -> None:
    unbatched = replace(DESIGN, batch=False)
    within = fanout.presence(1, 3_000, 3_000, unbatched, QUOTAS, seconds=300)
    beyond = fanout.presence(20, 3_000, 3_000, unbatched, QUOTAS, seconds=600)
    assert within.carried == 1
    assert within.lateness.quantile(0.99) < DESIGN.lateness_s
    assert beyond.carried == pytest.approx(5_850 / 60_000, rel=0.1)
    assert beyond.lateness.quantile(0.5) > DESIGN.lateness_s


def test_a_day_is_the_same_each_time() -> None:
    first, second = (fanout.day(1_000, DESIGN, QUOTAS, changes=1, hearers=1_000, wide=True) for _ in range(2))
    assert first == second
    assert first.hours_behind == 0
    assert first.median_s <= first.last_s <= first.worst_hour_s


def test_a_change_that_many_watch_takes_a_post_for_each() -> None:
    assert fanout.hot_change_s(65_000, DESIGN, QUOTAS) == pytest.approx(10 + DESIGN.poll_s)


# ---- needs and cells ------------------------------------------------------------------------------------------------


def test_silent_connections_need_their_pings_and_the_sweeps_questions() -> None:
    need = demand.idle(240_000, replace(DESIGN, lease_s=300))
    assert need.needs["requests"] == pytest.approx(1_000 / 0.3 / (5 / 6))
    assert replace(DESIGN, lease_s=300).gets_a_second == 0, "a ping renews the lease before it lapses"
    assert replace(DESIGN, lease_s=150).gets_a_second == 1 / 240


def test_the_first_limit_is_the_quota_that_is_passed_by_most() -> None:
    need = demand.Need("x", "y", {"connects": 1_000, "requests": 50_000, "bus_puts": 10})
    assert need.first(QUOTAS) == "requests"
    assert need.cells(QUOTAS) == 5
    assert demand.Need("x", "y", {"connects": 400}).first(QUOTAS) is None
    assert demand.Need("x", "y", {"connects": 400}).cells(QUOTAS) == 1


def test_shards_divide_what_one_partition_key_must_take() -> None:
    one, four = (demand.storm(1e6, replace(DESIGN, audience_shards=shards)).needs for shards in (1, 4))
    assert one["partition_writes"] == 4 * four["partition_writes"]


def test_whoever_hears_everybody_writes_nothing_to_watch() -> None:
    design = replace(DESIGN, watched=20)
    watching, hearing = (demand.presence(1e6, design, watching=which).needs for which in (True, False))
    assert watching["table_writes"] == pytest.approx(hearing["table_writes"] * (4 + 40) / 4)


def test_a_new_cell_takes_only_its_own_share_of_the_users() -> None:
    users = [str(number) for number in range(4_000)]
    three, four = ["a", "b", "c"], ["a", "b", "c", "d"]
    moved = [user for user in users if cells.cell_of(user, three) != cells.cell_of(user, four)]
    assert all(cells.cell_of(user, four) == "d" for user in moved)
    assert len(moved) == pytest.approx(1_000, rel=0.1)


def test_a_listeners_change_crosses_to_every_other_cell() -> None:
    crossing = cells.mesh(9_000, 3, replace(DESIGN, watched=20))  # 10 changes a second, 1 of a listener
    assert crossing.sent == crossing.received == pytest.approx(2 / 3)
    assert crossing.dollars == pytest.approx(2 * 2_592_000 / 1e6)
    assert cells.mesh(9_000, 7, DESIGN).rules == 2, "five targets a rule"


# ---- quotas and the page --------------------------------------------------------------------------------------------


def test_every_quota_names_its_source_and_who_can_raise_it() -> None:
    assert all(quota.source.startswith("docs.aws.amazon.com/") for quota in QUOTAS.values())
    assert all(key == quota.key for key, quota in QUOTAS.items())
    assert {key for key, quota in QUOTAS.items() if quota.is_fixed} == {
        "starts",
        "partition_writes",
        "stream_readers",
        "secrets",
    }
    assert all(f"`{key}`" in quota_table() for key in QUOTAS)


def test_a_smaller_regions_burst_keeps_its_proportion() -> None:
    assert with_defaults(requests=2_500)["requests"].burst == 1_250


def test_the_figures_are_those_that_were_measured() -> None:
    costs = dict.fromkeys(SCENARIOS, Cost()) | {
        "online": Cost(writes=7),
        "one_begin": Cost(writes=8),
        "watching_begin": Cost(writes=38),
    }
    figures = {"warm.connect_us": 1_500.0, "cold_start.connect_ms": 250.0, "handler.100000": 18_000.0}
    design = measured(figures, costs)
    assert design.connect_writes == 6
    assert design.watch_writes == 3
    assert design.connect_ms == pytest.approx(1.5 * 1769 / 512 + 10)
    assert design.posts_a_core == 18_000


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.15, "0.15 s"), (42.4, "42 s"), (90, "1.5 min"), (7_199, "120 min"), (20_000, "5.6 h")]
)
def test_a_time_is_told_as_people_say_it(seconds: float, text: str) -> None:
    assert time(seconds) == text


def test_the_tables_name_the_limit_and_count_cells_with_default_and_raised_quotas() -> None:
    assert "`requests` × 28" in limit_table(DESIGN)
    assert "| one event for everybody | 1 / 1 | 1 / 1 | 3 / 1 | 29 / 3 |" in cell_table(DESIGN)
    assert mesh_table(replace(DESIGN, watched=20)).count("\n") > 1


def test_the_check_is_printed_once_it_is_measured() -> None:
    assert not check_table({})
    figures = {"scale_check.connections": 200.0, "scale_check.connect_s": 4.0, "scale_check.connect_simulated_s": 3.0}
    assert "| 200 connections open, all at once | 3.00 s | 4.00 s | 0.75 |" in check_table(figures)


def test_the_page_has_what_the_simulation_prints() -> None:
    page = report.PATH.read_text(encoding="utf-8")
    assert marks.printed(page, report.PROGRAM) == report.section(), "python -m bench scale writes it anew"


def test_the_picture_draws_what_the_simulation_found() -> None:
    drawn = report.PICTURE.read_text(encoding="utf-8")
    assert all(part in drawn for part in picture.picture(report.run(measured()))), "python -m bench scale draws it anew"
