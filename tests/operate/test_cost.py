"""`realtime cost`: a month's bill from the measured costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from operate.cli import main
from operate.cost import DAYS, PRICES, SCENARIOS, Cost, Workload, as_results, bill, day, read
from operate.state import ROOT

NOTHING = dict.fromkeys(SCENARIOS, Cost())
IDLE = Workload(sessions=1, minutes=7, ping_seconds=0, watchers=0)


def test_a_day_is_the_sum_of_what_happens_in_it() -> None:
    measured = {**NOTHING, "online": Cost(writes=10), "offline": Cost(writes=5), "ping": Cost(reads=0.5, messages=2)}
    load = Workload(sessions=2, minutes=7, ping_seconds=30, watchers=3)
    assert load.pings == 28
    assert day(measured, load) == Cost(writes=30, reads=14, messages=56 + 12)


def test_any_frame_of_a_client_renews_a_lease() -> None:
    measured = {**NOTHING, "ping": Cost(reads=0.5), "renewal": Cost(reads=0.5, writes=1)}
    half_an_hour = Workload(sessions=1, minutes=30, ping_seconds=60, watchers=0)
    assert day(measured, half_an_hour) == Cost(reads=15, writes=3)
    assert day(measured, replace(half_an_hour, ping_seconds=0)) == Cost(writes=3)


def test_calls_and_notifications_come_from_events_of_the_backends() -> None:
    measured = {**NOTHING, "call": Cost(writes=29), "call_end": Cost(writes=29), "notification": Cost(writes=4)}
    assert day(measured, replace(IDLE, calls=0.5, notifications=10)) == Cost(writes=69, bus=11)


def test_a_bill_has_a_line_for_each_thing_that_aws_charges() -> None:
    measured = {**NOTHING, "online": Cost(invocations=4, requests=9, writes=1, reads=2, bus=1, queue=1)}
    lines = {line.what: line for line in bill(measured, IDLE, users=1000)}
    assert lines["DynamoDB write units"].count == 1000 * DAYS
    assert lines["DynamoDB write units"].dollars == pytest.approx(1000 * DAYS * 0.625 / 1e6)
    assert lines["API Gateway connection minutes"].count == 7 * 1000 * DAYS
    assert lines["Lambda GB-seconds"].count == pytest.approx(4 * 1000 * DAYS * 0.01)
    assert lines["CloudWatch Logs bytes"].dollars == pytest.approx(4 * 1000 * DAYS * 326 / 1e9 * 0.5)
    assert len(lines) == 9


@pytest.mark.parametrize(("snapstart", "dollars"), [("none", None), ("clients", 3.90), ("all", 33.86)])
def test_the_bill_counts_kept_snapshots_even_without_traffic(snapstart: str, dollars: float | None) -> None:
    lines = {line.what: line.dollars for line in bill(NOTHING, IDLE, users=1, snapstart=snapstart)}
    assert lines.get("SnapStart GB-seconds kept") == (dollars and pytest.approx(dollars, abs=0.01))


def test_the_bill_counts_the_sweep_even_without_traffic() -> None:
    lines = {line.what: line.count for line in bill({**NOTHING, "sweep": Cost(invocations=1)}, IDLE, users=1)}
    assert lines["Lambda invocations"] == 24 * 60 * DAYS


def test_measured_costs_can_be_read_back() -> None:
    assert {f"cost.{name}" for name in as_results(read())} == {
        f"cost.{scenario}_{name}"
        for scenario in SCENARIOS
        for name in ("invocations", "requests", "writes", "reads", "bus", "queue", "messages")
    }


@pytest.mark.parametrize("load", [Workload(), Workload(ping_seconds=0)])
def test_the_readme_names_the_price_of_a_thousand_days(load: Workload) -> None:
    million = day(read(), load).dollars() + load.connection_minutes * PRICES["minutes"]
    assert f"${million / 1000:.2f}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_prints_the_bill() -> None:
    printed = CliRunner().invoke(main, ["cost", "--users", "10000", "--ping", "0"])
    assert printed.exit_code == 0, printed.output
    *_, month, user = printed.output.splitlines()
    assert month.startswith("a month")
    assert float(month.split()[-2].replace(",", "")) == pytest.approx(float(user.split()[-2]) * 10_000 * DAYS, rel=0.01)


def test_by_default_everybody_online_hears_each_change() -> None:
    def messages(*arguments: str) -> float:
        command = ["cost", "--users", "10000", "--ping", "0", *arguments]
        lines = CliRunner().invoke(main, command).output.splitlines()
        (line,) = (line for line in lines if line.startswith("API Gateway messages"))
        return float(line.removeprefix("API Gateway messages").split()[0].replace(",", ""))

    assert messages() == messages("--watchers", "833") > 30 * messages("--watchers", "20")
