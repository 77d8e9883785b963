"""A deployment with a fault in it is taken back: real functions and alarms, a fake CodeDeploy.

Both versions run over the same tables. The fault is in the new version's environment, as the old ones keep theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from aws_rules.documents import TEMPLATE, parsed
from aws_rules.parameters import HARDENED, ParameterSet
from aws_rules.stacks import Stack
from realtime import bootstrap
from tests.logs import LogLines
from tests.samples import backend_event, sample
from tests.support.cloud import Cloud, Function
from tests.support.fake_codedeploy import FakeCloudWatch, FakeCodeDeploy

DOCUMENT = parsed(TEMPLATE.read_text(encoding="utf-8"))
REQUESTS_A_MINUTE = 10
NUMBERS = itertools.count()
pytestmark = pytest.mark.usefixtures("jwt_clock")


@cache
def stack(shift: str) -> Stack:
    return Stack(DOCUMENT, ParameterSet("canary", {**HARDENED, "DeploymentPreference": shift}))


class Traffic:
    """Requests to both versions of a function, counted as Lambda and the template's log filters count them."""

    def __init__(self, old: Function, new: Function, event: Callable[[], dict[str, Any]], log: LogLines) -> None:
        self.old, self.new, self.event, self._log = old, new, event, log
        self.cloudwatch = FakeCloudWatch()
        self.failed = self.served = 0

    def serve(self, share: float) -> None:
        """Serve a minute: of each ten requests, the new version gets as many as its share says."""
        for number in range(REQUESTS_A_MINUTE):
            self.request(self.new if number % 10 < round(share * 10) else self.old)

    def request(self, function: Function) -> None:
        logged = len(self._log.lines)
        bootstrap.forget()
        try:
            function(self.event())
        except Exception:  # noqa: BLE001  # Lambda counts an error, whatever it is
            self.cloudwatch.count(("AWS/Lambda", "Errors", f"{function.name.capitalize()}Function"))
        lines = self._log.lines[logged:]
        self.served += 1
        self.failed += any(line["level"] == "ERROR" for line in lines)
        for line in lines:
            if function.name in ("connect", "default") and line["level"] == "ERROR":  # {Connect,Default}FailuresFilter
                self.cloudwatch.count(("realtime/listener-realtime", "FailedRequests", ""))
            if function.name == "ingest" and line["message"] == "failed":  # PutOffEventsFilter
                self.cloudwatch.count(("realtime/listener-realtime", "PutOffEvents", ""))


def handshake() -> dict[str, Any]:
    event = sample("connect.token-in-query")
    event["requestContext"]["connectionId"] = f"c-{next(NUMBERS)}="
    return event


def call() -> dict[str, Any]:
    return {**backend_event("system_notification"), "id": f"event-{next(NUMBERS)}"}


def broken(function: Function) -> Function:
    """Return a version that was told of a table that is not there."""
    return replace(function, environment={**function.environment, "EVENTS_TABLE": "Gone", "USERS_TABLE": "Gone"})


@pytest.mark.parametrize(("name", "event"), [("connect", handshake), ("ingest", call)])
def test_a_canary_with_a_fault_is_taken_back_and_hurt_few(
    cloud: Cloud, logged: LogLines, name: str, event: Callable[[], dict[str, Any]]
) -> None:
    good = cloud.function(name)
    traffic = Traffic(good, broken(good), event, logged)
    deployment = FakeCodeDeploy(
        stack("Canary10Percent5Minutes"), f"{name.capitalize()}Function", traffic.cloudwatch, traffic.serve
    )
    assert deployment.run() == "Stopped"
    assert deployment.share == 0.0
    assert deployment.minutes < 5  # the shortest canary is long enough to see it
    assert 0 < traffic.failed <= traffic.served / 10
    before = traffic.failed
    traffic.cloudwatch.begin_minute()
    traffic.serve(deployment.share)
    assert traffic.failed == before


@pytest.mark.parametrize("shift", ["AllAtOnce", "Canary10Percent10Minutes", "Linear10PercentEvery1Minute"])
def test_a_good_version_gets_all_the_traffic(shift: str) -> None:
    cloudwatch, shares = FakeCloudWatch(), list[float]()
    deployment = FakeCodeDeploy(stack(shift), "ConnectFunction", cloudwatch, shares.append)
    assert deployment.run() == "Succeeded"
    assert deployment.share == 1.0
    assert shares == sorted(shares)


def test_one_failure_takes_nothing_back() -> None:
    cloudwatch = FakeCloudWatch()

    def serve(_share: float) -> None:
        if deployment.minutes == 3:
            cloudwatch.count(("AWS/Lambda", "Errors", "ConnectFunction"))

    deployment = FakeCodeDeploy(stack("Canary10Percent10Minutes"), "ConnectFunction", cloudwatch, serve)
    assert deployment.run() == "Succeeded"
