"""`realtime cost`: a month's bill from the measured costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from operate.cli import main
from operate.cost import DAYS, PRICES, SCENARIOS, SNAPSHOT_GB, SOURCES, Cost, Workload, as_results, day, lines, read
from operate.state import ROOT
from tests.cloudformation import resources, template

NOTHING = dict.fromkeys(SCENARIOS, Cost())
IDLE = Workload(sessions=1, minutes=7, ping_seconds=0, watchers=0)


def test_a_day_is_the_sum_of_what_happens_in_it() -> None:
    ping = Cost(reads=0.5, messages=2)
    measured = {
        **NOTHING,
        "online": Cost(writes=10),
        "offline": Cost(writes=5),
        "ping": ping,
        "renewal": ping,
        "counted": ping,
    }
    load = Workload(sessions=2, minutes=7, ping_seconds=30, watchers=3)
    assert load.pings == 28
    assert day(measured, load) == Cost(writes=30, reads=14, messages=56 + 12)


def test_a_client_that_pings_renews_its_lease_each_minute() -> None:
    measured = {**NOTHING, "ping": Cost(reads=0.5), "counted": Cost(reads=0.5), "renewal": Cost(reads=0.5, writes=1)}
    half_an_hour = Workload(sessions=1, minutes=30, ping_seconds=30, watchers=0)
    assert day(measured, half_an_hour) == Cost(reads=30, writes=29)


def test_the_sweep_renews_the_leases_of_the_silent_now_and_then() -> None:
    measured = {**NOTHING, "ping": Cost(reads=0.5), "renewal": Cost(reads=0.5, writes=1)}
    assert day(measured, Workload(sessions=1, minutes=30, ping_seconds=0, watchers=0)) == Cost(writes=2)


def test_one_ping_in_six_is_counted() -> None:
    load = Workload(sessions=1, minutes=6, ping_seconds=10, watchers=0)
    assert day({**NOTHING, "counted": Cost(writes=1)}, load) == Cost(writes=6)


def test_calls_and_notifications_come_from_events_of_the_backends() -> None:
    measured = {**NOTHING, "call": Cost(writes=29), "call_end": Cost(writes=29), "notification": Cost(writes=4)}
    assert day(measured, replace(IDLE, calls=0.5, notifications=10)) == Cost(writes=69, bus=11)


def test_a_bill_has_a_line_for_each_thing_that_aws_charges() -> None:
    month = Cost(invocations=4, requests=9, writes=1, reads=2, bus=1, queue=1).times(1e6)
    found = {line.what: line for line in lines(month, 7e6, quiet=1e6)}
    assert found["DynamoDB write units"].count == 1e6
    assert found["DynamoDB write units"].dollars == pytest.approx(0.625)
    assert found["API Gateway connection minutes"].dollars == pytest.approx(7 * 0.25)
    assert found["Lambda GB-seconds"].count == pytest.approx(4e6 * 0.01)
    assert found["CloudWatch Logs bytes"].dollars == pytest.approx(3e6 * 326 / 1e9 * 0.5)
    assert len(found) == 13


@pytest.mark.parametrize(("snapstart", "dollars"), [("none", None), ("clients", 7.79), ("all", 75.52)])
def test_the_bill_counts_kept_snapshots_even_without_traffic(snapstart: str, dollars: float | None) -> None:
    found = {line.what: line.dollars for line in lines(Cost(), 0, snapstart=snapstart)}
    assert found.get("SnapStart GB-seconds kept") == (dollars and pytest.approx(dollars, abs=0.01))


def test_the_snapshots_are_as_large_as_the_memory_of_the_templates_functions() -> None:
    usual = template()["Globals"]["Function"]["MemorySize"]
    functions = resources("AWS::Serverless::Function").values()
    assert SNAPSHOT_GB["all"] == pytest.approx(sum(each.get("MemorySize", usual) for each in functions) / 1024)


def test_the_page_has_the_price_of_each_thing_that_an_idle_stack_has() -> None:
    found = {line.what: line for line in lines(Cost(), 0)}
    alarms, metrics = found["CloudWatch alarms"], found["CloudWatch metrics of our own"]
    page = (ROOT / "docs/cost.md").read_text(encoding="utf-8")
    row = f"| alarms, {alarms.count:g} at $0.10, and three metrics of log filters | "
    assert f"{row}${alarms.dollars + metrics.dollars:.2f} |" in page
    assert f"long polls of four queues, five each | ${found['SQS polls while idle'].dollars:.2f}," in page


def test_the_bill_counts_what_an_idle_stack_has_by_its_template() -> None:
    found = {line.what: line for line in lines(Cost(), 0)}
    assert found["CloudWatch alarms"].count == sum(
        "Condition" not in template()["Resources"][name] for name in resources("AWS::CloudWatch::Alarm")
    )
    filters = resources("AWS::Logs::MetricFilter").values()
    names = {change["MetricName"] for each in filters for change in each["MetricTransformations"]}
    assert found["CloudWatch metrics of our own"].count == len(names)
    functions = resources("AWS::Serverless::Function").values()
    polling = [event for each in functions for event in each.get("Events", {}).values() if event["Type"] == "SQS"]
    assert found["SQS polls while idle"].count == len(polling) * 5 * DAYS * 24 * 3600 / 20
    assert found["Secrets"].dollars == 0.40


def test_every_price_names_its_source() -> None:
    assert set(SOURCES) == set(PRICES)
    assert all(source.startswith("aws.amazon.com/") for source in SOURCES.values())


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


def test_the_command_prints_the_bill_of_both_clients() -> None:
    printed = CliRunner().invoke(main, ["cost", "--users", "10000"])
    assert printed.exit_code == 0, printed.output
    head, *_, month, user = printed.output.splitlines()
    assert "documented clients" in head
    assert "our own client" in head
    totals = [float(each.strip().replace(",", "")) for each in month.removeprefix("a month, us-east-1").split("$")[:2]]
    days = [float(each) for each in user.removeprefix("a user and day").split("$")[:2]]
    assert totals == pytest.approx([each * 10_000 * DAYS for each in days], rel=0.01)
    assert totals[0] > 10 * totals[1], "the documented clients hear everybody"


def test_the_command_says_when_the_quota_does_not_carry_everybody_to_everybody() -> None:
    printed = CliRunner().invoke(main, ["cost", "--users", "100000"])
    assert "quota of 10,000 requests a second does not carry documented clients" in printed.output.splitlines()[-1]


def test_the_command_compares_with_other_services() -> None:
    printed = CliRunner().invoke(main, ["cost", "--compare"])
    assert printed.exit_code == 0, printed.output
    assert "| Pusher Channels |" in printed.output
