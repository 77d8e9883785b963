"""What a workload costs a month on AWS, computed from the measured use of the handlers.

tests/support/costs.py makes the measurements.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from operate.state import ROOT

MEASURED = ROOT / "bench" / "results.json"
TEMPLATE = ROOT / "template.yaml"
DAYS = 30  # of a month

PRICES = {
    "messages": 1.00,
    "minutes": 0.25,
    "invocations": 0.20,
    "writes": 0.625,
    "reads": 0.125,
    "bus": 1.00,
    "queue": 0.40,
}
"""Dollars a million in us-east-1."""

SOURCES = {
    "messages": "aws.amazon.com/api-gateway/pricing (the first billion a month; $0.80 after it)",
    "minutes": "aws.amazon.com/api-gateway/pricing",
    "invocations": "aws.amazon.com/lambda/pricing",
    "writes": "aws.amazon.com/dynamodb/pricing/on-demand",
    "reads": "aws.amazon.com/dynamodb/pricing/on-demand",
    "bus": "aws.amazon.com/eventbridge/pricing",
    "queue": "aws.amazon.com/sqs/pricing",
}
"""Where each price stands."""

GB_SECOND = 13.3334
"""Dollars a million, arm64."""

KEPT_GB_SECOND = 1.5046
"""Dollars a million, for the snapshots of one published version; restoring them, $0.00014 a GB, comes on top."""

SNAPSHOT_GB = {"none": 0.0, "clients": 2 * 0.5, "all": 9 * 0.5 + 3 * 1769 / 1024}
"""The memory of the functions that the parameter SnapStart names."""

KEPT_VERSIONS = 2
"""Published versions of each function: the live one, and the one before, to go back to (operate/versions.py)."""

LOG_GB = 0.50
"""Dollars a GB that CloudWatch Logs takes in."""

ALARM, METRIC, SECRET = 0.10, 0.30, 0.40
"""Dollars a month each: aws.amazon.com/cloudwatch/pricing, aws.amazon.com/secrets-manager/pricing."""

POLLERS, POLL_SECONDS = 5, 20
"""Lambda polls an idle queue with five long polls at a time: docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""

ASSUMED_LOG_BYTES = 300 + 26
"""An invocation: one line of ours in JSON, and what CloudWatch adds; Lambda's own lines are off (level WARN)."""

ASSUMED_GB_SECONDS = 0.5 * 0.02
"""An invocation: 512 MB for 20 ms."""

SCENARIOS = {
    "online": "a listener comes online (first connection)",
    "another": "another connection of a user who is online",
    "ping": "ping",
    "renewal": "ping that renews the lease (one a minute)",
    "counted": "ping that is counted for its limit (one in six)",
    "call": "call event, to two participants",
    "call_end": "call's end",
    "resume": "resume, with 2 messages missed",
    "notification": "notification to one user",
    "sync": "sync, with 30 users online",
    "watch": "watch of 10 users",
    "sweep": "sweep, each minute, with 30 users online",
    "disconnect": "disconnect, with a connection left",
    "offline": "a listener goes offline (last connection, and the check)",
    "four_begin": "a listener's client opens four sockets, one for each endpoint",
    "one_begin": "a listener's client opens one socket, on live",
    "four_end": "a listener's four sockets end (and the check)",
    "one_end": "a listener's one socket ends (and the check)",
    "watching_begin": "a listener's client opens one socket, on live, and watches 10 users",
    "watching_end": "that socket ends (and the check)",
    "one_watch": "watch of 10 users by one socket, on live",
}
"""The description of each measured action, by its name in results.json."""

USERS_A_READ = 12
"""How many online users a sweep reads for one read unit, in addition to what it reads in any case."""

RENEWAL_MINUTES = 1
"""How often a ping each 30 s also renews its connection's lease: it is 90 s long, and renewed when half is over."""

SILENT_RENEWAL_MINUTES = 10
"""How often the sweep renews the lease of a connection that sends nothing, unless it hears enough to be passed over."""

PINGS_A_COUNT = 6
"""Of so many pings one is counted, for the limit of its connection."""


@dataclass
class Cost:
    """What one action uses. Units of capacity are as billed on demand; messages are those from and to clients."""

    invocations: float = 0
    requests: float = 0
    """Requests to DynamoDB."""
    writes: float = 0
    """Write request units."""
    reads: float = 0
    """Read request units."""
    bus: float = 0
    """Events put on the bus."""
    queue: float = 0
    """Requests to SQS."""
    messages: float = 0

    def dollars(self) -> float:
        """Return the price of a million of it."""
        priced = sum(getattr(self, name) * price for name, price in PRICES.items() if name != "minutes")
        return float(priced + self.invocations * ASSUMED_GB_SECONDS * GB_SECOND)

    def times(self, factor: float) -> Cost:
        """The cost multiplied by a factor."""
        return Cost(*(getattr(self, field.name) * factor for field in fields(self)))

    def plus(self, other: Cost) -> Cost:
        """Return what both take together."""
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Workload:
    """A user's day."""

    sessions: int = 4
    minutes: int = 30
    """Minutes a session."""
    ping_seconds: int = 30
    """Seconds between pings, as the documented clients send them; 0 if other traffic makes them unnecessary."""
    watchers: int = 20
    """Connections that hear each coming and going."""
    calls: float = 0
    """Calls; each has one event when it begins and one when it ends."""
    notifications: float = 0

    @property
    def connection_minutes(self) -> int:
        """Return how many minutes the user is connected."""
        return self.sessions * self.minutes

    @property
    def pings(self) -> int:
        """Return how many pings the user's clients send."""
        return self.sessions * (self.minutes * 60 // self.ping_seconds) if self.ping_seconds else 0


@dataclass(frozen=True)
class Line:
    """A line of a bill."""

    what: str
    count: float
    dollars: float


def day(measured: Mapping[str, Cost], load: Workload) -> Cost:
    """Return what a user's day takes."""
    minutes = RENEWAL_MINUTES if load.ping_seconds else SILENT_RENEWAL_MINUTES
    renewals = load.sessions * (math.ceil(load.minutes / minutes) - 1)
    cost = Cost(
        messages=2 * load.sessions * load.watchers, bus=2 * load.calls + load.notifications
    )  # the backends' own
    for name, times in (
        ("online", load.sessions),
        ("offline", load.sessions),
        ("ping", load.pings - renewals - load.pings / PINGS_A_COUNT),
        ("counted", load.pings / PINGS_A_COUNT),
        ("renewal", renewals),
        ("call", load.calls),
        ("call_end", load.calls),
        ("notification", load.notifications),
    ):
        cost = cost.plus(measured[name].times(times))
    return cost


def lines(month: Cost, minutes: float, *, quiet: float = 0, snapstart: str = "none") -> Iterator[Line]:
    """The bill for a month's use, line by line, as AWS charges it, without storage and transfer.

    `minutes` are connection minutes; `quiet` invocations log nothing (pings); `snapstart` is the template's parameter,
    and of each function KEPT_VERSIONS are counted.
    """
    for what, name in (
        ("API Gateway messages", "messages"),
        ("Lambda invocations", "invocations"),
        ("DynamoDB write units", "writes"),
        ("DynamoDB read units", "reads"),
        ("EventBridge events", "bus"),
        ("SQS requests", "queue"),
    ):
        count = getattr(month, name)
        yield Line(what, count, count * PRICES[name] / 1e6)
    yield Line("API Gateway connection minutes", minutes, minutes * PRICES["minutes"] / 1e6)
    gb_seconds = month.invocations * ASSUMED_GB_SECONDS
    yield Line("Lambda GB-seconds", gb_seconds, gb_seconds * GB_SECOND / 1e6)
    logged = (month.invocations - quiet) * ASSUMED_LOG_BYTES
    yield Line("CloudWatch Logs bytes", logged, logged / 1e9 * LOG_GB)
    if kept := SNAPSHOT_GB[snapstart] * KEPT_VERSIONS * DAYS * 24 * 3600:
        yield Line("SnapStart GB-seconds kept", kept, kept * KEPT_GB_SECOND / 1e6)
    yield from _idle()


def _idle() -> Iterator[Line]:
    """What a stack costs while nobody is connected, in addition to its sweep."""
    text = TEMPLATE.read_text(encoding="utf-8")
    alarms = len(re.findall(r"^    Type: AWS::CloudWatch::Alarm\n(?!    Condition)", text, re.MULTILINE))
    metrics = len(set(re.findall(r"MetricTransformations:\n.*MetricName: (\w+)", text)))
    queues = len(re.findall(r"^ +Type: SQS$", text, re.MULTILINE))
    yield Line("CloudWatch alarms", alarms, alarms * ALARM)
    yield Line("CloudWatch metrics of our own", metrics, metrics * METRIC)
    yield Line("Secrets", 1, SECRET)
    polls = queues * POLLERS * DAYS * 24 * 3600 / POLL_SECONDS
    yield Line("SQS polls while idle", polls, polls * PRICES["queue"] / 1e6)


def read() -> dict[str, Cost]:
    """The latest measurements."""
    results = json.loads(MEASURED.read_text(encoding="utf-8"))
    names = [field.name for field in fields(Cost)]
    return {scenario: Cost(**{name: results[f"cost.{scenario}_{name}"] for name in names}) for scenario in SCENARIOS}


def as_results(measured: Mapping[str, Cost]) -> dict[str, float]:
    """Return the figures in the form that `read` expects."""
    return {
        f"{scenario}_{field.name}": getattr(cost, field.name)
        for scenario, cost in measured.items()
        for field in fields(cost)
    }
