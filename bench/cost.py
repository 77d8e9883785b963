"""What things cost: the AWS calls that the real handlers make over tables built from template.yaml, counted and priced.

Each scenario runs a handler and all that follows from it by way of the streams. Capacity is worked out from the items'
sizes before and after each call, by DynamoDB's documented rules, indexes and transactions included:
docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
`python -m bench.cost` writes the tables of docs/cost.md; tests/integration/test_cost.py holds them to what is measured.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from bench import results
from operate.cost import PRICES, SCENARIOS, Cost, Workload, as_results, day

if TYPE_CHECKING:
    from tests.integration.conftest import Cloud

PATH = Path(__file__).parents[1] / "docs" / "cost.md"
BEGIN, END = "<!-- measured: make bench writes what follows -->", "<!-- end of what is measured -->"

WATCHED = 10  # users, by the watch that is measured
ONLINE = 30  # users, when `sync` is measured

Item = Mapping[str, Mapping[str, Any]]


def size(item: Item | None) -> int:
    """Return an item's size in bytes.

    docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items()) if item else 0


def _value_size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return math.ceil(len(content.strip("-0.")) / 2) + 1
    if kind == "SS":
        return sum(len(each.encode()) for each in content)
    return 1  # BOOL, NULL


def write_units(before: Item | None, after: Item | None, indexes: list[Index], *, transactional: bool = False) -> int:
    """Return the write units of a change of an item, those of its indexes included."""
    base = max(1, math.ceil(max(size(before), size(after)) / 1024))
    return sum((index.write_units(before, after) for index in indexes), base * (2 if transactional else 1))


def read_units(read_bytes: int, *, consistent: bool) -> float:
    """Return the read units of so many bytes read in one go."""
    return max(1, math.ceil(read_bytes / 4096)) * (1 if consistent else 0.5)


@dataclass(frozen=True)
class Index:
    """A global secondary index: its keys, and what it holds beside them and the table's."""

    keys: tuple[str, ...]
    attributes: frozenset[str]

    def write_units(self, before: Item | None, after: Item | None) -> int:
        """Return what a change of an item costs here: nothing where the projection stays as it is."""
        old, new = self._projected(before), self._projected(after)
        if old == new:
            return 0
        if old and new and any(old[key] != new[key] for key in self.keys):
            return _units(old) + _units(new)  # one is deleted, the other is put
        return max(_units(old), _units(new))

    def _projected(self, item: Item | None) -> Item | None:
        if item is None or any(key not in item for key in self.keys):
            return None  # sparse
        return {name: value for name, value in item.items() if name in self.attributes}


def _units(item: Item | None) -> int:
    return math.ceil(size(item) / 1024)


class Meter:
    """Counts what the functions' clients are asked for."""

    def __init__(self, cloud: Cloud) -> None:
        from realtime.aws import clients

        self._cloud = cloud
        self._lock = Lock()
        self._indexes, self._keys = _indexes_and_keys()
        self.cost = Cost()
        for service in ("dynamodb", "sqs", "events"):
            events = clients.client(service).meta.events
            events.register(f"provide-client-params.{service}", self._before)
            events.register(f"after-call.{service}", self._after)

    @contextmanager
    def measuring(self) -> Iterator[Cost]:
        """Count in this block."""
        self.cost = Cost()
        yield self.cost

    def _before(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:
        self._lock.acquire()  # one call at a time, so that what is between before and after is its own
        context["cost"] = params, self._touched(model.name, params)

    def _after(self, model: Any, context: dict[str, Any], **_: object) -> None:
        params, touched = context["cost"]
        service = model.service_model.service_name
        if service == "sqs":
            self.cost.queue += 1
        elif service == "events":
            self.cost.bus += len(params["Entries"])
        else:
            self.cost.requests += 1
            transactional = model.name == "TransactWriteItems"
            for table, key, before in touched:
                after = self._item(table, key)
                self.cost.writes += write_units(before, after, self._indexes[table], transactional=transactional)
            self.cost.reads += self._reads(model.name, params)
        self._lock.release()

    def _touched(self, operation: str, params: dict[str, Any]) -> list[tuple[str, Item, Item | None]]:
        """Return the items that a call writes to: table, key and how the item was before."""
        parts: list[tuple[str, Item]] = []
        if operation == "TransactWriteItems":
            for part in params["TransactItems"]:
                (what,) = part.values()
                parts.append((what["TableName"], what.get("Key") or what["Item"]))
        elif operation == "BatchWriteItem":
            for table, requests in params["RequestItems"].items():
                for request in requests:
                    (what,) = request.values()
                    parts.append((table, what.get("Key") or what["Item"]))
        elif operation in {"PutItem", "UpdateItem"}:
            parts.append((params["TableName"], params.get("Key") or params["Item"]))
        keyed = [(table, {name: item[name] for name in self._keys[table]}) for table, item in parts]
        return [(table, key, self._item(table, key)) for table, key in keyed]

    def _item(self, table: str, key: Item) -> Item | None:
        found: Item | None = self._cloud.dynamodb.get_item(TableName=table, Key=key).get("Item")
        return found

    def _reads(self, operation: str, params: dict[str, Any]) -> float:
        consistent = params.get("ConsistentRead", False)
        if operation == "GetItem":
            return read_units(size(self._item(params["TableName"], params["Key"])), consistent=consistent)
        if operation == "BatchGetItem":
            return sum(
                read_units(size(self._item(table, key)), consistent=asked.get("ConsistentRead", False))
                for table, asked in params["RequestItems"].items()
                for key in asked["Keys"]
            )
        if operation not in {"Query", "Scan"}:
            return 0
        return read_units(sum(map(size, self._rows(operation, params))), consistent=consistent)

    def _rows(self, operation: str, params: dict[str, Any]) -> list[Item]:
        """Return what a query or scan reads, before it filters and projects."""
        left_out = {"FilterExpression", "ProjectionExpression", "ExpressionAttributeNames", "Select"}
        asked = {name: value for name, value in params.items() if name not in left_out}
        if operation == "Scan":
            asked.pop("ExpressionAttributeValues", None)
        elif "ExpressionAttributeValues" in asked:
            used = asked["KeyConditionExpression"].replace(",", " ").split()
            values = asked["ExpressionAttributeValues"]
            asked["ExpressionAttributeValues"] = {name: value for name, value in values.items() if name in used}
        rows: list[Item] = getattr(self._cloud.dynamodb, operation.lower())(**asked)["Items"]
        return rows


def _indexes_and_keys() -> tuple[dict[str, list[Index]], dict[str, tuple[str, ...]]]:
    from tests.integration.conftest import TEMPLATE

    indexes: dict[str, list[Index]] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for table in TEMPLATE.of_type("AWS::DynamoDB::Table"):
        own = tuple(key["AttributeName"] for key in table.properties["KeySchema"])
        keys[table.logical_id] = own
        indexes[table.logical_id] = []
        for index in table.properties.get("GlobalSecondaryIndexes", ()):
            schema = tuple(key["AttributeName"] for key in index["KeySchema"])
            held = frozenset((*own, *schema, *index["Projection"]["NonKeyAttributes"]))
            indexes[table.logical_id].append(Index(schema, held))
    return indexes, keys


class Town:
    """The functions, the streams between them, and the meter on all of it."""

    def __init__(self, cloud: Cloud, clock: Any) -> None:
        self.cloud, self.clock = cloud, clock
        self.meter = Meter(cloud)

    def takes(self, name: str, event: dict[str, Any], *, heard: int | None = None) -> Cost:
        """Invoke a function and all that follows; return what it took, with the posts, or `heard` messages."""
        from tests.unit.fakes import FakePoster

        self.cloud.poster = FakePoster()
        with self.meter.measuring() as cost:
            self._invoke(name, event)
            if changes := self.cloud.stream("Users"):
                self._invoke("announce", {"Records": changes})
            if name == "ingest":
                self.meter.cost.queue += 3  # EventBridge sends it to the queue; Lambda receives and deletes it
            entries = self.cloud.stream("Events")
            for reach in ("narrow", "wide"):
                records = [each for each in entries if each["dynamodb"]["NewImage"].get("reach") == {"S": reach}]
                if records:
                    self._invoke("broadcast", {"Records": records})
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
        from tests.samples import sample

        self.clock.now += 10
        (record,) = sample("deadlines.offline")["Records"]
        records = [{**record, "body": message["Body"]} for message in self.cloud.messages("Deadlines")]
        return self.takes("deadlines", {"Records": records}).plus(Cost(queue=2))  # to receive it, and to delete it


def handshake(connection_id: str, user: str, endpoint: str, role: str = "listener") -> dict[str, Any]:
    """Return API Gateway's event of a client that connects."""
    import jwt

    from tests.samples import KEY_ID, SECRET, sample

    claims = {"sub": user, "username": "jane_smith", "role": role, "exp": 4_102_444_800}
    event = sample("connect.token-in-query")
    event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}
    event["queryStringParameters"] = {"token": jwt.encode(claims, SECRET, headers={"kid": KEY_ID})}
    return event


def frame(connection_id: str, endpoint: str, kind: str, **data: Any) -> dict[str, Any]:
    """Return API Gateway's event of a frame from a client."""
    from tests.samples import sample

    event = sample("default.ping")
    event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}
    return {**event, "body": json.dumps({"type": kind, "data": data})}


def goodbye(connection_id: str, endpoint: str) -> dict[str, Any]:
    """Return API Gateway's event of a connection that ended."""
    from tests.samples import sample

    event = sample("disconnect")
    event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}
    return event


def measure(cloud: Cloud, clock: Any) -> dict[str, Cost]:
    """Run every scenario, and return what each took."""
    from realtime.ids import make_event_id
    from tests.samples import backend_event

    town = Town(cloud, clock)
    found: dict[str, Cost] = {}
    first, second = "RfGx1dQAIAMCIhA=", "RfGx4fHqoAMCJ0g="

    def take(name: str, cost: Cost) -> None:
        found[name] = cost

    take("online", town.takes("connect", handshake(first, "123", "feed"), heard=0))
    take("another", town.takes("connect", handshake(second, "123", "calls"), heard=0))
    take("ping", town.takes("default", frame(first, "feed", "ping"), heard=2))
    clock.now += 500
    take("renewal", town.takes("default", frame(first, "feed", "ping"), heard=2))
    take("call", town.takes("ingest", backend_event("call_started"), heard=2))
    take("call_end", town.takes("ingest", backend_event("call_ended"), heard=2))
    away = make_event_id(int(clock.now * 1000) - 60_000)
    take("resume", town.takes("default", frame(second, "calls", "resume", last_id=away), heard=4))
    notification = backend_event("favorite_added")
    notification["detail"]["delivery"] = {"to": [123]}
    take("notification", town.takes("ingest", notification, heard=1))
    for number in range(ONLINE - 1):
        town.takes("connect", handshake(f"c{number:015d}=", str(1000 + number), "presence", role="user"))
    last = f"c{ONLINE - 2:015d}="
    take("sync", town.takes("default", frame(last, "presence", "sync"), heard=2))
    watched = [1000 + number for number in range(WATCHED)]
    watch = frame(last, "presence", "watch", user_ids=watched)
    take("watch", town.takes("default", watch, heard=2))
    take("sweep", town.takes("sweep", {}))
    take("disconnect", town.takes("disconnect", goodbye(second, "calls"), heard=0))
    leaving = town.takes("disconnect", goodbye(first, "feed"), heard=0)
    take("offline", leaving.plus(town.check()))
    found["offline"].messages = 0
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
    ]
    return "\n".join(lines)


def _row(name: str, cost: Cost) -> str:
    numbers = [f"{getattr(cost, field.name):.4g}" for field in fields(cost)]
    return f"| {name} | {' | '.join(numbers)} | {cost.dollars():.2f} |"


def run() -> dict[str, Cost]:
    """Measure, at the samples' time, over tables in memory."""
    import pytest
    from moto import mock_aws

    from tests.integration.conftest import STORY_BEGINS, Cloud
    from tests.unit.fakes import Clock

    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with (
        pytest.MonkeyPatch.context() as patch,
        mock_aws(),
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
    ):
        clock = Clock(STORY_BEGINS + 0.4)
        patch.setattr(time, "time", clock)
        return measure(Cloud(patch), clock)


def main() -> None:
    """Measure, print, keep, and write the page's tables."""
    found = run()
    text = tables(found, Workload())
    print(text)
    page = PATH.read_text()
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    PATH.write_text(f"{before}{BEGIN}\n\n{text}\n\n{after}")
    whole = day(found, Workload())
    of_a_day = {f"day_{field.name}": getattr(whole, field.name) for field in fields(whole)}
    results.save("cost", {**of_a_day, **as_results(found)})


if __name__ == "__main__":
    main()
