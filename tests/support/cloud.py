"""The stack's tables, queues, bus and parameter in moto, as template.yaml says, and the functions that work on them."""

from __future__ import annotations

import copy
import importlib
import json
import os
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from moto.dynamodb.models import dynamodb_backends
from moto.events.models import events_backends
from moto.sqs.models import sqs_backends

from realtime import bootstrap
from realtime.audiences import watched_user, watching
from realtime.tables.dynamodb import plain
from samsocket.resolver import Resolver
from samsocket.template import Stack, Template
from tests.cloudformation import ROOT
from tests.samples import KEY_ID, SECRET, queued
from tests.support import enumerations
from tests.support.fake_sqs import check_message
from tests.support.light_moto import all_stored, empty_moto, lighten_moto, stored
from tests.support.strict_dynamodb import StrictDynamoDB
from tests.unit.fakes import FakePoster

REGION, ACCOUNT = "us-east-1", "123456789012"
TOKEN_KEYS = "/realtime/token-keys"
TEMPLATE = Template.read(ROOT / "template.yaml")
SAMPLE_LIFE = "3153600000"  # s; the tokens of the samples are good until 2100
PROBE = "BusProbeQueue"  # gets all that is put on the bus
QUEUES = (*(queue.logical_id for queue in TEMPLATE.of_type("AWS::SQS::Queue")), PROBE)
STORY_BEGINS = 1_705_314_600  # s; 2024-01-15T10:30:00Z, when the samples are set


@cache
def operator(service: str) -> Any:
    """Return a client for test code, with more rights than the functions' own."""
    session: Any = botocore.session.get_session()
    client = session.create_client(service)
    client.meta.events.register("provide-client-params", refuse_what_aws_refuses)
    return client


def refuse_what_aws_refuses(**call: Any) -> None:
    """Hear what a client is about to send, and refuse what moto would accept and AWS does not."""
    model, params = call["model"], call["params"]
    enumerations.check(model.service_model.service_name, xform_name(model.name), params)
    if model.name == "SendMessage":
        check_message(params)


class Context:
    """What Lambda tells a function of its invocation."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def for_broadcast(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the records of the Events stream that each of the two functions is shown; none if there are none."""
    functions = {"broadcast": ({"S": "narrow"}, {"S": "both"}), "broadcast-wide": ({"S": "wide"}, {"S": "both"})}
    found = {
        name: [record for record in records if record["dynamodb"]["NewImage"].get("reach") in reaches]
        for name, reaches in functions.items()
    }
    return {name: shown for name, shown in found.items() if shown}


@dataclass(frozen=True)
class Function:
    """A function with the environment that the template gives it."""

    name: str
    environment: dict[str, str]

    def __call__(self, event: dict[str, Any]) -> Any:
        """Invoke it; `ingest` is given an event of EventBridge as its queue brings it."""
        os.environ.update(self.environment)  # monkeypatch has saved what was there
        if self.name == "ingest" and "Records" not in event:
            event = queued(event)
        return importlib.import_module(self.name).handler(json.loads(json.dumps(event)), Context())


class Cloud:
    """The part of the stack that holds data, empty, and the functions that work on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lighten_moto()
        self._monkeypatch = monkeypatch
        self.dynamodb, self.sqs, self.events = (operator(service) for service in ("dynamodb", "sqs", "events"))
        self.stack = _begin_anew()
        keys = json.dumps({KEY_ID: SECRET})
        operator("ssm").put_parameter(Name=TOKEN_KEYS, Value=keys, Type="SecureString")
        self.poster = FakePoster()
        self.strict: StrictDynamoDB | None = None
        monkeypatch.setattr(bootstrap, "poster", self._poster)
        self._read: dict[str, int] = {}

    def function(self, name: str, **parameters: object) -> Function:
        """Return a function, such as `broadcast-wide`, as the template deploys it with these parameters."""
        given = {parameter: str(value) for parameter, value in parameters.items()}
        texts = {"TokenKeys": TOKEN_KEYS, "MaxTokenSeconds": SAMPLE_LIFE, "LeaseSeconds": "900", **given}
        resolver = Resolver(TEMPLATE, replace(self.stack, parameters=texts))
        properties = TEMPLATE.resources[f"{name.title().replace('-', '')}Function"].properties
        environment = {
            key: str(value) for key, value in resolver.resolve(properties["Environment"]["Variables"]).items()
        }
        for key, value in environment.items():
            self._monkeypatch.setenv(key, value)
        bootstrap.forget()
        return Function(name.partition("-")[0], environment)

    def perform(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Make a call to moto's DynamoDB."""
        answer: dict[str, Any] = getattr(self.dynamodb, operation)(**request)
        return answer

    def image(self, table: str, item: dict[str, Any]) -> dict[str, Any] | None:
        """Return an item as DynamoDB stores it, found by the values of its key attributes."""
        return stored(dynamodb_backends[ACCOUNT][REGION].tables[table], item)

    def held(self, table: str) -> list[dict[str, Any]]:
        """Return all items of a table as DynamoDB stores them."""
        found = dynamodb_backends[ACCOUNT][REGION].tables.get(f"{table}Table")  # a test may have deleted it
        return [] if found is None else list(all_stored(found))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table, sorted by key."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=f"{table}Table", ConsistentRead=True)
        found = [plain(row) for page in pages for row in page["Items"]]
        return sorted(
            found, key=lambda row: [str(row.get(key)) for key in ("connection_id", "audience", "user_id", "event_id")]
        )

    def audiences_of(self, connection_id: str) -> set[str]:
        """Return the audiences of a connection's items; those of watched users have their two keys the other way round.

        `watched` and the audience of its session are among them.
        """
        rows = self.rows("Connections")
        found = {row["audience"] for row in rows if row["connection_id"] == connection_id}
        watchers = [row for row in rows if row["audience"] == connection_id]
        return found | {watching(row["endpoint"], watched_user(row["connection_id"])) for row in watchers}

    def row(self, table: str, **key: str) -> dict[str, Any] | None:
        """Return the row with this key."""
        answer = self.dynamodb.get_item(
            TableName=f"{table}Table", Key={name: {"S": value} for name, value in key.items()}
        )
        return plain(answer["Item"]) if "Item" in answer else None

    def user(self, user_id: str = "123") -> dict[str, Any]:
        """Return a user's item; empty if there is no such user."""
        return self.row("Users", user_id=user_id) or {}

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Take the messages that can be received from a queue now."""
        url = self.stack.physical[f"{queue}Queue"]
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        found: list[dict[str, Any]] = answer.get("Messages", [])
        for message in found:  # otherwise they come again after some time, on a slow machine within one test
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def told(self) -> list[dict[str, Any]]:
        """Take the events that were put on the bus."""
        return [json.loads(message["Body"]) for message in self.messages("BusProbe")]

    def stream(self, table: str) -> list[dict[str, Any]]:
        """Return the records of a table's stream since the last call, in the form that Lambda gets."""
        shard = dynamodb_backends[ACCOUNT][REGION].tables[f"{table}Table"].stream_shard
        assert shard is not None
        new = [entry.to_json() for entry in shard.items[self._read.get(table, 0) :]]
        self._read[table] = len(shard.items)
        return [
            copy.deepcopy({**record, "dynamodb": {**record["dynamodb"], "ApproximateCreationDateTime": 0}})
            for record in new
            # for an update that creates an item, moto first puts one with the key alone
            if record["dynamodb"].get("NewImage") != record["dynamodb"]["Keys"]
        ]

    def _poster(self, endpoint: str, posts_per_second: int, *_: object) -> FakePoster:
        assert endpoint == f"https://a1b2c3d4e5.execute-api.{REGION}.amazonaws.com"
        assert posts_per_second > 0
        return self.poster


class Lagging:
    """A client of a DynamoDB in which nothing is seen yet by reads that need not be consistent."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Any:
        return partial(self._call, operation)

    def _call(self, operation: str, **request: Any) -> Any:
        asked = [request, *request.get("RequestItems", {}).values()]
        if operation in {"get_item", "query", "scan", "batch_get_item"} and not any(
            each.get("ConsistentRead") for each in asked
        ):
            return {"Items": [], "Responses": {table: [] for table in request.get("RequestItems", {})}}
        return getattr(self._client, operation)(**request)


# ---- the stack in moto ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    """The stack, and the tables and buses that are in moto when it has been made, by name."""

    stack: Stack
    tables: dict[str, Any]
    buses: dict[str, Any]


def _begin_anew() -> Stack:
    """Forget all that is in moto, and return the stack as it is when it has just been made, from copies of it."""
    made = _made()
    empty_moto()
    dynamodb_backends[ACCOUNT][REGION].tables = copy.deepcopy(made.tables)
    for name in QUEUES:  # a queue has a lock, and cannot be copied
        sqs_backends[ACCOUNT][REGION].create_queue(name)
    events_backends[ACCOUNT][REGION].event_buses = copy.deepcopy(made.buses)
    return made.stack


@cache
def _made() -> _Made:
    """Make the stack by calls of AWS, once for the process."""
    empty_moto()
    stack = Stack(name="listener-realtime", region=REGION, account=ACCOUNT, physical={"Api": "a1b2c3d4e5"})
    tables = {
        table.logical_id: _create_table(table.logical_id, Resolver(TEMPLATE, stack).resolve(table.properties))
        for table in TEMPLATE.of_type("AWS::DynamoDB::Table")
    }
    queues = {name: operator("sqs").create_queue(QueueName=name)["QueueUrl"] for name in QUEUES}
    bus = _create_bus(queues[PROBE])
    physical = {**stack.physical, **queues, **tables, "Bus": bus, "Configuration": "1"}
    return _Made(
        replace(stack, physical=physical),
        copy.deepcopy(dynamodb_backends[ACCOUNT][REGION].tables),
        copy.deepcopy(events_backends[ACCOUNT][REGION].event_buses),
    )


def _create_table(name: str, properties: dict[str, Any]) -> str:
    taken = {"BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"}
    request = {key: value for key, value in properties.items() if key in taken}
    if "StreamSpecification" in properties:
        request["StreamSpecification"] = {"StreamEnabled": True, **properties["StreamSpecification"]}
    operator("dynamodb").create_table(TableName=name, **request)
    return name


def _create_bus(probe: str) -> str:
    """Make the bus, and send all that is put on it to a queue."""
    events, sqs, name = operator("events"), operator("sqs"), "realtime"
    events.create_event_bus(Name=name)
    arn = sqs.get_queue_attributes(QueueUrl=probe, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="all", EventBusName=name, EventPattern=json.dumps({"account": [ACCOUNT]}))
    events.put_targets(Rule="all", EventBusName=name, Targets=[{"Id": "probe", "Arn": arn}])
    return name
