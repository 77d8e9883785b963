"""The cost of each scenario of docs/cost.md, run through the real handlers and metered.

A scenario runs a handler and everything that it triggers through the streams. `python -m tests.support.costs`, a part
of `make bench`, writes the tables of the page. tests/integration/test_costs.py compares the page with the measurements.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import jwt
import pytest
from moto import mock_aws

from operate.cost import PRICES, SCENARIOS, Cost, Workload, as_results, day
from realtime.ids import make_event_id
from realtime.messages import ENDPOINTS
from realtime.tables.served import Served
from tests.cloudformation import ROOT
from tests.samples import KEY_ID, SECRET, backend_event, sample
from tests.support.cloud import STORY_BEGINS, Cloud, for_broadcast
from tests.support.meter import Meter
from tests.unit.fakes import Clock, FakePoster
from tools import marks, results

PATH = ROOT / "docs" / "cost.md"
PROGRAM = "make bench"

WATCHED = 10  # users, by the watch that is measured
ONLINE = 30  # users, when `sync` is measured


class MeteredService:
    """The functions, the streams between them, and the meter on all of them."""

    def __init__(self, cloud: Cloud, clock: Any) -> None:
        self.cloud, self.clock = cloud, clock
        self.meter = Meter(cloud)

    def takes(self, name: str, event: dict[str, Any], *, heard: int | None = None) -> Cost:
        """Invoke a function and all that it triggers; return the cost, with the posts, or `heard` messages."""
        self.cloud.poster = FakePoster()
        with self.meter.measuring() as cost:
            self._invoke(name, event)
            if changes := self.cloud.stream("Users"):
                self._invoke("announce", {"Records": changes})
            if name == "ingest":
                self.meter.cost.queue += 3  # EventBridge sends it to the queue; Lambda receives and deletes it
            entries = self.cloud.stream("Events")
            for function, records in for_broadcast(entries).items():
                self._invoke(function, {"Records": records})
        cost.messages += sum(len(each.frames) for each in self.cloud.poster.deliveries)
        if heard is not None:
            cost.messages = heard
        return cost

    def _invoke(self, name: str, event: dict[str, Any]) -> None:
        self.meter.cost.invocations += 1
        # No grace period: the queue in memory would let its checks wait by the real clock.
        self.cloud.function(name, GracePeriodSeconds=0)(event)

    def check(self) -> Cost:
        """Do the checks that were ordered, after the grace period."""
        self.clock.now += 10
        (record,) = sample("deadlines.offline")["Records"]
        records = [{**record, "body": message["Body"]} for message in self.cloud.messages("Deadlines")]
        return self.takes("deadlines", {"Records": records}).plus(Cost(queue=2))  # to receive it, and to delete it


def handshake(connection_id: str, user: str, endpoint: str, role: str = "listener") -> dict[str, Any]:
    """Return API Gateway's event of a client that connects."""
    claims = {"sub": user, "username": "jane_smith", "role": role, "exp": 4_102_444_800}
    event = sample("connect.token-in-query")
    event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}
    event["queryStringParameters"] = {"token": jwt.encode(claims, SECRET, headers={"kid": KEY_ID})}
    return event


def frame(connection_id: str, endpoint: str, kind: str, **data: Any) -> dict[str, Any]:
    """Return API Gateway's event of a frame from a client."""
    event = sample("default.ping")
    event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}
    return {**event, "body": json.dumps({"type": kind, "data": data})}


def goodbye(connection_id: str, endpoint: str) -> dict[str, Any]:
    """Return API Gateway's event of a connection that ended."""
    event = sample("disconnect")
    event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}
    return event


def measure(cloud: Cloud, clock: Any, patch: pytest.MonkeyPatch) -> dict[str, Cost]:
    """Run every scenario, and return the cost of each; without the marks of what was served, which the page tells."""
    patch.setattr(Served, "mark", lambda *_: None)
    service = MeteredService(cloud, clock)
    found: dict[str, Cost] = {}
    first, second = "RfGx1dQAIAMCIhA=", "RfGx4fHqoAMCJ0g="

    def take(name: str, cost: Cost) -> None:
        found[name] = cost

    take("online", service.takes("connect", handshake(first, "123", "feed"), heard=0))
    take("another", service.takes("connect", handshake(second, "123", "calls"), heard=0))
    for _ in range(2):  # the first two show that the client has a heartbeat, at one write unit each
        service.takes("default", frame(first, "feed", "ping"))
    take("ping", service.takes("default", frame(first, "feed", "ping"), heard=2))
    clock.now += 500
    take("renewal", service.takes("default", frame(first, "feed", "ping"), heard=2))
    with mock.patch("random.random", return_value=0.0):  # the chance that decides
        take("counted", service.takes("default", frame(first, "feed", "ping"), heard=2))
    take("call", service.takes("ingest", backend_event("call_started"), heard=2))
    take("call_end", service.takes("ingest", backend_event("call_ended"), heard=2))
    away = make_event_id(int(clock.now * 1000) - 60_000)
    take("resume", service.takes("default", frame(second, "calls", "resume", last_id=away), heard=4))
    notification = backend_event("favorite_added")
    notification["detail"]["delivery"] = {"to": [123]}
    take("notification", service.takes("ingest", notification, heard=1))
    for number in range(ONLINE - 1):
        service.takes("connect", handshake(f"c{number:015d}=", str(1000 + number), "presence", role="user"))
    last = f"c{ONLINE - 2:015d}="
    service.takes("default", frame(last, "presence", "sync"))  # the first of a day notes how many are online
    take("sync", service.takes("default", frame(last, "presence", "sync"), heard=2))
    watched = [1000 + number for number in range(WATCHED)]
    watch = frame(last, "presence", "watch", user_ids=watched)
    take("watch", service.takes("default", watch, heard=2))
    take("sweep", service.takes("sweep", {}))
    take("disconnect", service.takes("disconnect", goodbye(second, "calls"), heard=0))
    leaving = service.takes("disconnect", goodbye(first, "feed"), heard=0)
    take("offline", leaving.plus(service.check()))
    found["offline"].messages = 0
    found |= _sockets(service)
    return found


def _sockets(service: MeteredService) -> dict[str, Cost]:
    """Measure what the sockets of one client cost, if it opens four, one, or one that watches; without posts."""
    found = {}
    for name, stages in (("four", ENDPOINTS), ("one", ("live",)), ("watching", ("live",))):
        service.clock.now += 60
        ids = [f"{name}-{stage}-00="[-16:] for stage in stages]
        begin, end = Cost(), Cost()
        for connection_id, stage in zip(ids, stages, strict=True):
            event = handshake(connection_id, f"client-of-{name}", stage)
            if name == "watching":
                event["queryStringParameters"]["watch"] = ",".join(str(1000 + number) for number in range(WATCHED))
            begin = begin.plus(service.takes("connect", event, heard=0))
        for connection_id, stage in zip(ids, stages, strict=True):
            end = end.plus(service.takes("disconnect", goodbye(connection_id, stage), heard=0))
        found[f"{name}_begin"], found[f"{name}_end"] = begin, end.plus(service.check())
        found[f"{name}_end"].messages = 0
    service.takes("connect", handshake("one-watches--00=", "watcher", "live"))
    watch = frame("one-watches--00=", "live", "watch", user_ids=[1000 + number for number in range(WATCHED)])
    found["one_watch"] = service.takes("default", watch, heard=2)
    return found


def tables(found: Mapping[str, Cost], load: Workload) -> str:
    """Return the tables of the page."""
    head = "Lambda invocations | DynamoDB requests | write units | read units | bus events | SQS requests | messages"
    lines = [f"| each | {head} | $ a million |", f"| --- |{' ---: |' * 8}"]
    lines += [_row(SCENARIOS[name], cost) for name, cost in found.items()]
    whole = day(found, load)
    minutes = load.connection_minutes
    price = whole.dollars() / 1e6 + minutes * PRICES["minutes"] / 1e6
    silent = day(found, replace(load, ping_seconds=0))
    quiet = silent.dollars() / 1e6 + minutes * PRICES["minutes"] / 1e6
    with_pings = _row("with these pings", whole).rsplit("|", 2)[0]
    without = _row("if other traffic made all pings unnecessary", silent).rsplit("|", 2)[0]
    lines += [
        "",
        (
            f"A listener's day of presence: {load.sessions} sessions of {load.minutes} minutes with one connection, "
            f"a ping each {load.ping_seconds} s, each change sent to {load.watchers} connections."
        ),
        "",
        f"| a listener and day | {head} | connection minutes | $ a thousand |",
        f"| --- |{' ---: |' * 9}",
        f"{with_pings}| {minutes} | {price * 1000:.2f} |",
        f"{without}| {minutes} | {quiet * 1000:.2f} |",
        *_session(found, load.minutes),
    ]
    return "\n".join(lines)


def _session(found: Mapping[str, Cost], minutes: int) -> list[str]:
    """Return the table of one session by four sockets and by one."""
    lines = [
        "",
        f"A client's session of {minutes} minutes, without its messages: it begins, is held, and ends.",
        "",
        "| a session | handshakes | connection minutes | DynamoDB requests | write units | read units | $ a million |",
        f"| --- |{' ---: |' * 6}",
    ]
    for name, sockets in (("four", 4), ("one", 1)):
        cost = found[f"{name}_begin"].plus(found[f"{name}_end"])
        held = sockets * minutes
        dollars = cost.dollars() + held * PRICES["minutes"]
        units = f"{cost.requests:.4g} | {cost.writes:.4g} | {cost.reads:.4g}"
        lines.append(f"| by {name} socket{'s' * (sockets > 1)} | {sockets} | {held} | {units} | {dollars:.2f} |")
    return lines


def _row(name: str, cost: Cost) -> str:
    numbers = [f"{getattr(cost, field.name):.4g}" for field in fields(cost)]
    return f"| {name} | {' | '.join(numbers)} | {cost.dollars():.2f} |"


def run() -> dict[str, Cost]:
    """Measure, at the samples' time, over tables in memory."""
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with (
        pytest.MonkeyPatch.context() as patch,
        mock_aws(),
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
    ):
        clock = Clock(STORY_BEGINS + 0.4)
        patch.setattr(time, "time", clock)
        patch.setattr(random, "random", lambda: 0.99)
        return measure(Cloud(patch), clock, patch)


def main() -> None:
    """Measure, print and store the figures, and write the page's tables."""
    found = run()
    text = tables(found, Workload())
    sys.stdout.write(f"{text}\n")
    marks.write(PATH, PROGRAM, text)
    whole = day(found, Workload())
    of_a_day = {f"day_{field.name}": getattr(whole, field.name) for field in fields(whole)}
    results.save("cost", {**of_a_day, **as_results(found)})


if __name__ == "__main__":
    main()
