"""The system of the chaos: the real `broadcast` on the simulated stream mapping, and the services that it calls.

The handler and all that it uses are real; the tables are moto's, made from template.yaml's; the posts go over loopback.
Threads and sockets have their own timing, so a seed repeats the script of a run, but not its exact timing.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

import broadcast
import late
from realtime import bootstrap, log
from realtime import late as late_lane
from realtime.aws import clients
from realtime.errors import RealtimeError
from realtime.posting import lane, progress
from realtime.posting.poster import Poster
from realtime.tables.entries import read_entries
from realtime.tables.registry import Gone, Registry
from tests.chaos.api import Api
from tests.chaos.client import Recorded
from tests.chaos.failing import DeadLetters, FailingPoster, FunctionsClient, Plan
from tests.cloudformation import resources
from tests.model.tables import Change, Tables
from tests.support.stream_mapping import Killed, Settings, Stream, StreamMapping

PAGE = 40  # rows of the index; DynamoDB's are larger
SETTINGS = {
    "CONNECTIONS_TABLE": "ConnectionsTable",
    "USERS_TABLE": "UsersTable",
    "BLOCKS_TABLE": "BlocksTable",
    "EVENTS_TABLE": "EventsTable",
    "MANAGEMENT_ENDPOINT": "http://unused.example.com",  # each run has a fake of its own
    "POSTS_PER_SECOND": "1000000",
    "REACH": "narrow",  # or `wide`, by the function that is invoked
    "PRESENCE_LATENESS_SECONDS": "86400",  # a run may be slow: what is left out is another matter
    "FAILURES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/failures",
    "FAREWELLS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/farewells",
    "LATE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/late",
    "FEED_ROLE": "listener",
    "LEASE_SECONDS": "900",
    "MAX_TOKEN_SECONDS": "2592000",
    "HISTORY_SECONDS": "86400",
    "PRESENCE_HISTORY_SECONDS": "3600",
    "MESSAGE_RATE": "1000",
    "MESSAGE_BURST": "1000",
    "USER_MESSAGE_RATE": "1000",
    "COUNT_ONE_FRAME_IN": "6",
    "GRACE_PERIOD_SECONDS": "30",
    "CALL_LEASE_SECONDS": "7200",
}
CONGESTED_SECONDS, LANE_SECONDS = 1.0, 0.1  # instead of 10 s and 0.25 s
TOGETHER = 10  # messages of the late queue


def add_what_is_newer(operation: str, request: dict[str, Any]) -> int:
    """Make a write what a newer version of the code would write: an attribute, or a key, that nobody here knows.

    Returns how many items and messages have it now.
    """
    items = [request["Item"]] if operation == "put_item" else []
    for each in itertools.chain(*request.get("RequestItems", {}).values()) if operation == "batch_write_item" else ():
        items += [each["PutRequest"]["Item"]] if "PutRequest" in each else []
    items += [each["Put"]["Item"] for each in request.get("TransactItems", ()) if "Put" in each]
    for item in items:
        item["added_later"] = {"SS": ["by", "a newer version"]}
    messages = request.get("Entries", [request]) if operation.startswith("send_message") else []
    for message in messages:
        message["MessageBody"] = json.dumps(
            {**json.loads(message["MessageBody"]), "added_later": {"by": "a newer version"}}
        )
    return len(items) + len(messages)


class Runtime:
    """The stream, its mappings, the function and the services that it calls, in one run of the chaos."""

    aws_request_id = "00000000-0000-4000-8000-000000000000"  # of Lambda's context, for which it stands, too

    def __init__(
        self, seed: int, tables: Tables, api: Api, monkeypatch: pytest.MonkeyPatch, *, beside_newer: bool = False
    ) -> None:
        """Prepare a run. `beside_newer`: half of all writes are a newer version's, which has more to say."""
        self._newer = random.Random(f"{seed} newer") if beside_newer else None
        self.from_newer = 0
        self.seed = seed
        self.chance = random.Random(seed)
        self.tables = tables
        self.api = api
        self.recorded: list[Recorded] = []
        self.poisons: set[str] = set()  # audience and id of each
        self.dead_letters: list[str] = []  # likewise
        self.farewells: set[str] = set()  # connections that were ordered to be closed
        self.given_up: set[str] = set()  # connections that could be neither served nor closed
        self.late: dict[str, str] = {}  # the messages of the late queue
        self.is_calm = False
        self.invocations = 0
        self.surprises: list[Exception] = []  # errors of the function that must never occur
        self.plan = Plan()
        self._posters: list[Poster] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)  # by each of their keys
        arn = "arn:aws:dynamodb:us-east-1:123456789012:table/EventsTable/stream/2024-01-01T00:00:00.000"
        self.stream = Stream(arn, "audience", shards=self.chance.choice((1, 1, 2)), now=time.time())
        resets = self.chance.random() < 0.5
        self.mappings = [
            StreamMapping(
                self.stream,
                Settings.of(event["Properties"], progress_resets_retries=resets),
                partial(self._invoke, reach),
                chance=random.Random(f"{seed} {name}"),
                forgets=self._checkpoint_is_lost,
            )
            for function, reach in (("BroadcastFunction", "narrow"), ("BroadcastWideFunction", "wide"))
            for name, event in resources("AWS::Serverless::Function")[function]["Events"].items()
        ]
        tables.on_change = self._changed
        self._install(monkeypatch)

    def poll(self) -> None:
        """Let each mapping read its stream once, and the late lane some messages, before, between or after them."""
        for mapping in self.chance.sample(self.mappings, len(self.mappings)):
            self.serve_late(self.chance.randint(0, 2))
            mapping.poll()

    def drain(self) -> None:
        """Let each mapping read until nothing is left; the late lane goes on with some messages."""
        for mapping in self.chance.sample(self.mappings, len(self.mappings)):
            mapping.drain()
            self.serve_late(self.chance.randint(0, 5))

    def serve_late(self, batches: int | None = None) -> None:
        """Let the late lane take some batches of its queue, or all until the queue is empty."""
        while self.late and batches != 0:
            taken = self.chance.sample(sorted(self.late), min(TOGETHER, len(self.late)))
            event = {"Records": [{"messageId": each, "body": self.late[each]} for each in taken]}
            try:
                failed = {each["itemIdentifier"] for each in self._call(late.handler, event)["batchItemFailures"]}
            except (Killed, RealtimeError):
                failed = set(taken)
            for each in set(taken) - failed:
                if self.is_calm or self.chance.random() < 0.97:  # else SQS delivers it again
                    del self.late[each]
            batches = None if batches is None else batches - 1

    def sweep(self, now_ms: int) -> None:
        """Let `sweep` run once, as if it were that time."""
        bootstrap.sweeper().sweep(now_ms, time.monotonic() + 60)

    def calm_down(self) -> None:
        """Stop all failures from now on, and begin with a new environment."""
        self.is_calm = True
        self.api.account.calm_down()
        bootstrap.forget()

    @property
    def discarded(self) -> list[dict[str, Any]]:
        """Return the records that the mappings gave up."""
        return [failure for mapping in self.mappings for failure in mapping.discarded]

    # ---- services for the functions --------------------------------------------------------------------------------

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        """Stand for botocore's client of DynamoDB, one that never fails."""
        if operation.startswith("_"):
            raise AttributeError(operation)
        return lambda **request: self.call(operation, request)

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a call of DynamoDB or SQS."""
        with self._lock:
            if self._newer and self._newer.random() < 0.5:
                self.from_newer += add_what_is_newer(operation, request)
            if operation.startswith("send_message"):
                return self._send(request)
            if operation == "query" and request["TableName"] == "ConnectionsTable":
                return self._page(request)
            return self.tables.call(operation, request)

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        for entry in request.get("Entries", [request]):
            if request["QueueUrl"] == SETTINGS["LATE_QUEUE_URL"]:
                self.late[f"message {next(self._numbers):05}"] = entry["MessageBody"]
            else:
                self.farewells.add(json.loads(entry["MessageBody"])["connection_id"])
        return {}

    def _page(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return a page of a Query of the Connections table or its index.

        moto sorts the whole table for each Query, which would make a run ten times as long: one run in twenty uses it.
        In the others, dictionaries answer, which follow the changes of moto's tables.
        """
        if self.seed % 20 == 0:
            return self.tables.call("query", {**request, "Limit": PAGE})
        is_index = "IndexName" in request
        partition, sort = ("indexed_audience", "connection_id") if is_index else ("connection_id", "audience")
        values = request["ExpressionAttributeValues"]
        value = values.get(":listing") or values[":id"]
        after = request.get("ExclusiveStartKey", {}).get(sort, {}).get("S", "")
        rows = self._rows[partition, value["S"]]
        if request.get("Select") == "COUNT":
            return {"Count": int(values[":id"]["S"] in rows)}
        found = sorted(each for each in rows if each > after)
        page = [rows[each] for each in found[:PAGE]]
        if len(found) <= PAGE:
            return {"Items": page}
        return {"Items": page, "LastEvaluatedKey": {name: page[-1][name] for name in ("connection_id", "audience")}}

    def _changed(self, change: Change) -> None:
        match change.table:
            case "ConnectionsTable":
                connection_id, audience = change.key
                for image in (change.old, change.new):
                    if image and "indexed_audience" in image:
                        rows = self._rows["indexed_audience", image["indexed_audience"]["S"]]
                        rows.pop(connection_id, None)
                        if image is change.new:
                            rows[connection_id] = image
                of_connection = self._rows["connection_id", connection_id]
                of_connection.pop(audience, None)
                if change.new:
                    of_connection[audience] = change.new
            case "EventsTable" if change.new:
                keys = {name: change.new[name] for name in ("audience", "event_id")}
                self.stream.put("MODIFY" if change.old else "INSERT", keys, change.new)
                if not change.old and "/".join(change.key) not in self.poisons:
                    self._note(change.new)

    def _note(self, image: dict[str, Any]) -> None:
        if "reach" not in image:
            return  # a farewell, which `broadcast` is not shown
        key = f"{image['audience']['S']}/{image['event_id']['S']}"
        at = len(self.recorded)
        for entry in (*read_entries(image, "wide"), *read_entries(image, "narrow")):
            if all(each.entry != entry for each in self.recorded[at:]):  # which both reaches have, if it is its own
                self.recorded.append(Recorded(at, entry, key))

    # ---- the function ----------------------------------------------------------------------------------------------

    def _invoke(self, reach: str, event: dict[str, Any]) -> Any:
        if os.environ.get("REACH") != reach:  # it is another function
            os.environ["REACH"] = reach
            bootstrap.forget()
        return self._call(broadcast.handler, event)

    def _call(self, handler: Callable[[dict[str, Any], Any], Any], event: dict[str, Any]) -> Any:
        self.invocations += 1
        self.plan = self._new_plan(random.Random(f"{self.seed} invocation {self.invocations}"))
        try:
            return handler(event, self)
        except Killed:
            bootstrap.forget()
            raise
        except RealtimeError:
            raise
        except Exception as error:
            self.surprises.append(error)
            raise

    def _new_plan(self, chance: random.Random) -> Plan:
        if self.is_calm:
            return Plan()
        match chance.choices(("none", "short", "killed", "killed at call", "tables"), (70, 8, 8, 4, 10))[0]:
            case "short":
                return Plan(remaining_ms=3000 + chance.randrange(60))
            case "killed":
                return Plan(killed_after_posts=int(chance.expovariate(1 / 20)))
            case "killed at call":
                return Plan(killed_at_call=chance.randrange(8))
            case "tables":
                return Plan(failing_calls={number for number in range(60) if chance.random() < 0.3})
        return Plan()

    def get_remaining_time_in_millis(self) -> int:
        """Stand for Lambda's context, too."""
        return self.plan.remaining_ms

    def _checkpoint_is_lost(self) -> bool:
        return not self.is_calm and self.chance.random() < 0.03

    # ---- wiring ----------------------------------------------------------------------------------------------------

    def _install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in SETTINGS.items():
            monkeypatch.setenv(name, value)
        client = FunctionsClient(self)
        monkeypatch.setattr(clients, "client", lambda service: client)
        monkeypatch.setattr(progress, "CONGESTED_PATIENCE_S", CONGESTED_SECONDS)
        monkeypatch.setattr(lane, "LANE_S", LANE_SECONDS)
        monkeypatch.setattr(late_lane, "PROBING_S", LANE_SECONDS)
        monkeypatch.setattr(late_lane, "MAX_TRIES", 5)
        monkeypatch.setattr(progress, "OPENING_PATIENCE_S", LANE_SECONDS)
        forget_all = Registry.forget_all

        def note_given_up(registry: Registry, gone: Sequence[Gone], now_ms: int) -> dict[str, Exception]:
            self.given_up |= {each.connection_id for each in gone if each.may_live}
            return forget_all(registry, gone, now_ms)

        monkeypatch.setattr(Registry, "forget_all", note_given_up)
        monkeypatch.setattr(bootstrap, "failures", lambda: DeadLetters(self.dead_letters))
        monkeypatch.setattr(bootstrap, "poster", lambda endpoint, rate, *_: self._new_poster(rate))
        self._log_level = log.logger().log_level
        log.logger().setLevel("CRITICAL")
        bootstrap.forget()

    def _new_poster(self, rate: float) -> Poster:
        """Make a real Poster with less patience, as a new environment does."""
        poster = FailingPoster(self, rate)
        self._posters.append(poster)
        return poster

    def close(self) -> None:
        """Close what a run has opened."""
        for poster in self._posters:
            poster.close()
        log.logger().setLevel(self._log_level)
        bootstrap.forget()
