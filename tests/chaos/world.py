"""One run of the chaos: the real `broadcast` on the simulated stream mapping, with all that can go wrong around it.

The handler, the fan-out and the engine are the real ones; the tables are moto's, made of template.yaml's; the posts go
over loopback. A seed decides who is connected, what happens and what goes wrong. Threads and sockets have their own
time, so that a seed repeats a run's script, not each of its moments.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

import broadcast
import default
from operate.redrive import Names, Redrive
from realtime import audiences, backlog, bootstrap, log, replay
from realtime.aws import clients
from realtime.errors import RealtimeError
from realtime.ids import make_event_id
from realtime.messages import TYPES, encode
from realtime.posting import progress
from realtime.posting.api import make_poster
from realtime.posting.delivery import D, Outcome, Result
from realtime.posting.poster import Poster
from realtime.tables.connections import Connection, Connections
from realtime.tables.dynamodb import item, plain
from realtime.tables.outbox import Entry, Outbox
from tests.chaos.api import Api, Socket, Step, Trouble
from tests.cloudformation import resources
from tests.engine.conftest import Frozen
from tests.model.tables import Change, Tables
from tests.samples import sample
from tests.support import strict_dynamodb
from tests.support.fake_sqs import FakeSqs
from tests.support.stream_mapping import Killed, Settings, Stream, StreamMapping, between
from tests.support.strict_dynamodb import Chances, StrictDynamoDB

CONNECTIONS, EVENTS, USERS = 500, 50, 60
SHARDS = 4
PAGE = 40  # rows of the index; DynamoDB's are larger
STAGES = ("feed", "presence", "calls", "notifications")
SETTINGS = {
    "CONNECTIONS_TABLE": "ConnectionsTable",
    "USERS_TABLE": "UsersTable",
    "EVENTS_TABLE": "EventsTable",
    "MANAGEMENT_ENDPOINT": "http://unused.example.com",  # each run has a fake of its own
    "POSTS_PER_SECOND": "1000000",
    "FAILURES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/failures",
    "FAREWELLS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/farewells",
    "FEED_ROLE": "listener",
    "LEASE_SECONDS": "900",
    "HISTORY_SECONDS": "86400",
    "PRESENCE_HISTORY_SECONDS": "3600",
    "MESSAGE_RATE": "1000",
    "MESSAGE_BURST": "1000",
}
# Impatient, so that a run takes seconds: in production a post may take 2 s, and 2.5 s of failures are borne.
POST_SECONDS, PATIENCE_SECONDS = 0.1, 0.2
CONGESTED_SECONDS, YOUNG_SECONDS = 1.0, 2.0  # instead of 10 s and 10 min
TRANSIENT: tuple[Step, ...] = (429, 429, 429, 500, 503, *Trouble)
ALWAYS: tuple[Step, ...] = (429, 429, 500, 503, Trouble.RESET, Trouble.SLOW_ERROR)
# What each attempt of a call to DynamoDB may meet, which trying again must get over.
CHANCES = Chances(conflict=0.1, throttle=0.03, failure=0.01, lost=0.02, partial=0.3)


@dataclass(eq=False)
class Client:
    """One connection and what is to be expected of it."""

    connection: Connection
    audiences: list[str]
    socket: Socket
    since: int  # it hears what is recorded from then on

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return all that it heard, arrays taken apart."""
        heard: list[dict[str, Any]] = []
        for frame in self.socket.heard:
            content = json.loads(frame)
            heard += content if isinstance(content, list) else [content]
        return heard

    def wants(self, entry: Entry) -> bool:
        """Return whether it is to hear an entry for one of its audiences."""
        if self.connection.user_id in entry.hidden_from:
            return False
        if entry.not_after is not None and entry.not_after < time.time():
            return False
        is_direct = audiences.connection_of(entry.audience) is not None
        return is_direct or not self.connection.types or entry.kind in self.connection.types


@dataclass(frozen=True)
class Recorded:
    """An entry that the stream has shown, and when."""

    at: int
    entry: Entry


@dataclass
class Plan:
    """What goes wrong in one invocation."""

    remaining_ms: int = 60_000
    killed_after_posts: int | None = None
    killed_at_call: int | None = None
    failing_calls: set[int] = field(default_factory=set)
    calls: Iterator[int] = field(default_factory=itertools.count)


class World:
    """Everything of one run."""

    def __init__(self, seed: int, tables: Tables, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.tables = tables
        self.api = api
        self.clients: dict[str, Client] = {}
        self.recorded: list[Recorded] = []
        self.poisons: set[str] = set()  # audience and id of each
        self.redriven: set[str] = set()  # likewise
        self.dead_letters: list[str] = []  # likewise
        self.farewells: set[str] = set()  # connections that were ordered to be closed
        self.is_calm = False
        self.invocations = 0
        self.surprises: list[Exception] = []  # what the function failed with, and never should
        self._plan = Plan()
        self._numbers = itertools.count()
        self._engines: list[Poster] = []
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)  # by each of their keys
        arn = "arn:aws:dynamodb:us-east-1:123456789012:table/EventsTable/stream/2024-01-01T00:00:00.000"
        self.stream = Stream(arn, "audience", shards=self.chance.choice((1, 1, 2)), now=time.time())
        resets = self.chance.random() < 0.5
        self.mappings = [
            StreamMapping(
                self.stream,
                Settings.of(event["Properties"], progress_resets_retries=resets),
                self._invoke,
                chance=random.Random(f"{seed} {name}"),
                forgets=self._checkpoint_is_lost,
            )
            for function in ("BroadcastFunction", "BroadcastWideFunction")
            for name, event in resources("AWS::Serverless::Function")[function]["Events"].items()
        ]
        self.outbox = Outbox(cast("Any", self), "EventsTable")
        self.connections = Connections(cast("Any", self), "ConnectionsTable")
        if seed % 5 == 1:
            api.forbidden = self.chance.choice(STAGES)
        tables.on_change = self._changed
        self._install(monkeypatch)
        for _ in range(CONNECTIONS):
            self.connect()
        self._store_users(self.clients.values())

    # ---- clients ---------------------------------------------------------------------------------------------------

    def connect(self) -> Client:
        """Open a connection, with the troubles that it will have."""
        chance = self.chance
        number = next(self._numbers)
        user = str(chance.randrange(USERS))
        endpoint = chance.choice(STAGES)
        watched = chance.sample(range(USERS), 2) if endpoint in STAGES[:2] and chance.random() < 0.3 else ()
        is_young = chance.random() < 0.02
        connected_at = time.time() + (600 if is_young else -3600)  # however slow this machine is
        connection = Connection(
            connection_id=f"c{self.seed}-{number}=",
            endpoint=endpoint,
            user_id=user,
            connected_at=int(connected_at * 1000),
            token_expires_at=int(connected_at) + 7200,
            types=frozenset(chance.sample(sorted(TYPES[endpoint]), 1)) if chance.random() < 0.1 else frozenset(),
            batch=chance.random() < 0.25,
        )
        hears = audiences.initial_audiences(
            endpoint, user, connection.connection_id, SHARDS, watched=[str(each) for each in watched]
        )
        self.api.account.take()  # the handshake
        socket = Socket(connection.connection_id)
        if is_young:
            socket.state = chance.choice(["connecting", "open"])
        elif chance.random() < 0.15:
            self._trouble(socket)
        client = Client(connection, hears, socket, since=len(self.recorded))
        self.api.sockets[connection.connection_id] = socket
        for write in self.connections.registration_writes(connection, hears, lease_until=int(connected_at) + 7200):
            self.put_item(**write.request)
        self.clients[connection.connection_id] = client
        return client

    def _store_users(self, clients: Iterable[Client]) -> None:
        """Give users their new connections."""
        of_user: dict[str, set[str]] = defaultdict(set)
        for client in clients:
            of_user[client.connection.user_id].add(client.connection.connection_id)
        for user, connection_ids in of_user.items():
            self.update_item(
                TableName="UsersTable",
                Key=item({"user_id": user}),
                UpdateExpression="ADD connection_ids :ids",
                ExpressionAttributeValues=item({":ids": frozenset(connection_ids)}),
            )

    def _trouble(self, socket: Socket) -> None:
        chance = self.chance
        match chance.choices(("gone", "leaves", "transient", "slow", "stuck"), (4, 3, 10, 4, 2))[0]:
            case "gone":
                socket.state = "closed"
            case "leaves":
                socket.leaves_after = chance.randint(1, 6)
            case "transient":
                socket.troubles.extend(chance.choices(TRANSIENT, k=chance.randint(1, 3)))
            case "slow":
                socket.posts_meet = chance.choice(ALWAYS)
            case "stuck":  # can be neither served nor closed
                socket.posts_meet = socket.deletes_meet = chance.choice(ALWAYS)

    def is_registered(self, client: Client) -> bool:
        """Return whether a connection's session is stored."""
        key = {"connection_id": client.connection.connection_id, "audience": client.connection.connection_id}
        key["audience"] = audiences.direct(client.connection.connection_id)
        return self.tables.get("ConnectionsTable", item(key)) is not None

    def open_handshakes(self) -> None:
        """Let the handshakes that are under way be done; what is recorded from now on will be heard."""
        for client in self.clients.values():
            if client.socket.state == "connecting":
                client.socket.state, client.since = "open", len(self.recorded)

    def send(self, client: Client, kind: str, **data: Any) -> dict[str, Any]:
        """Let a client send a frame, and return what it is answered."""
        self.api.account.take()
        event = sample("default.ping")
        event["requestContext"] |= {
            "connectionId": client.connection.connection_id,
            "stage": client.connection.endpoint,
        }
        event["body"] = json.dumps({"type": kind, "data": data})
        answer: dict[str, Any] = json.loads(default.handler(event, None)["body"])
        return answer

    def come_back(self, client: Client) -> Client:
        """Let a client whose connection has ended open another, of the same kind."""
        connection = replace(client.connection, connection_id=f"again-{client.connection.connection_id}")
        again = Client(connection, client.audiences, Socket(connection.connection_id), since=len(self.recorded))
        self.api.sockets[connection.connection_id] = again.socket
        for write in self.connections.registration_writes(
            connection, client.audiences, lease_until=int(time.time()) + 7200
        ):
            self.put_item(**write.request)
        return again

    # ---- events ----------------------------------------------------------------------------------------------------

    def record(self, audience_names: Iterable[str], kind: str, **more: Any) -> None:
        """Record an event for audiences, as `ingest` and `announce` do."""
        number = next(self._numbers)
        now = int(self.stream.now * 1000) + number  # each later than the last
        name = make_event_id(now, str(self.seed), str(number))
        message = encode(kind, {"n": number, "text": "x" * self.chance.choice((10, 10, 100, 9000))}, now, name)
        expires_at = int(self.stream.now) + 86_400
        self.outbox.put_all(Entry(audience, name, kind, message, expires_at, **more) for audience in audience_names)

    def record_something(self) -> None:
        """Record an event of a kind that happens."""
        chance = self.chance
        user = str(chance.randrange(USERS))
        hidden = frozenset({str(each) for each in chance.sample(range(USERS), 3)} if chance.random() < 0.2 else ())
        match chance.choices(("calls", "notifications", "everyone", "feed", "presence", "direct"), (5, 4, 2, 3, 3, 1))[
            0
        ]:
            case "calls":
                other = str(chance.randrange(USERS))
                names = {audiences.personal("calls", each) for each in (user, other)}
                self.record(names, chance.choice(sorted(TYPES["calls"])), **self._lifetime())
            case "notifications":
                kind = chance.choice(sorted(TYPES["notifications"]))
                self.record([audiences.personal("notifications", user)], kind, **self._lifetime())
            case "everyone":
                self.record(audiences.everyone("notifications", SHARDS), "system_notification", **self._lifetime())
            case "feed" | "presence" as endpoint:
                names = {audiences.personal(endpoint, user), *audiences.everyone(endpoint, SHARDS)}
                kind = chance.choice(sorted(TYPES[endpoint]))
                self.record(names, kind, hidden_from=hidden, subject=user)
            case _:
                client = chance.choice(list(self.clients.values()))
                name = audiences.direct(client.connection.connection_id)
                self.record([name], "error", endpoint=client.connection.endpoint, close=True)

    def _lifetime(self) -> dict[str, int]:
        """Return how long a message is worth hearing: mostly for ever, or a day; or not any more."""
        choice = self.chance.random()
        if choice < 0.1:
            return {"not_after": int(time.time()) - 60}
        return {"not_after": int(time.time()) + 86_400} if choice < 0.3 else {}

    def record_poison(self) -> None:
        """Put an item in the Events table that no function of ours would write, in the midst of the others."""
        user = str(self.chance.randrange(USERS))
        endpoint = self.chance.choice(STAGES)
        audience = self.chance.choice(
            [audiences.personal(endpoint, user), self.chance.choice(audiences.everyone(endpoint, SHARDS))]
        )
        number = next(self._numbers)
        good = Entry(
            audience, make_event_id(number, "poison"), "call_started", '{"poison":true}', int(time.time()) + 86_400
        )
        image = good.as_item()
        match self.chance.randrange(5):
            case 0:
                del image["kind"]
            case 1:
                image["hidden_from"] = {"S": "5"}
            case 2:
                image["not_after"] = {"N": "1.5"}
            case 3:
                image["subject"] = {"N": "7"}
            case _:
                image["audience"] = {"S": f"connection/c{number}"}  # with no endpoint
        self.poisons.add("/".join(image[name]["S"] for name in ("audience", "event_id")))
        self.put_item(TableName="EventsTable", Item=image)

    # ---- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen, then calm down, then let every connection be posted to once more."""
        chance = self.chance
        poisoned = set(chance.sample(range(EVENTS), 4))
        waves = sorted(chance.sample(range(1, EVENTS), 3))
        for number in range(EVENTS):
            self.record_something()
            if number in poisoned:
                self.record_poison()
            if chance.random() < 0.3:
                self._store_users([self.connect()])
            if chance.random() < 0.3:
                chance.choice(list(self.clients.values())).socket.leaves_after = 1
            if number in waves:
                if chance.random() < 0.5:
                    self.api.account.others_take(chance.choice((0.5, 0.95, 1.0)), chance.choice((0.05, 0.2, 0.5)))
                self._poll()
        self.open_handshakes()
        self._drain()
        self._check_dead_letters(self._discarded)
        self._calm_down()

    def _calm_down(self) -> None:
        self.is_calm = True
        self.api.account.calm_down()
        new_environment()
        for client in self.clients.values():
            client.socket.posts_meet = client.socket.deletes_meet = client.socket.leaves_after = None
            client.socket.troubles.clear()
        if self.api.forbidden:
            self.api.forbidden = None
            self._redrive()
        suspects = [client for client in self.clients.values() if client.socket.state != "open"]
        wanted = {
            (client.audiences[0], min(client.connection.types or TYPES[client.connection.endpoint]))
            for client in suspects
        }
        for name, kind in sorted(wanted):
            self.record([name], kind)
        self._drain()

    def _poll(self) -> None:
        for mapping in self.chance.sample(self.mappings, len(self.mappings)):
            mapping.poll()

    def _drain(self) -> None:
        for mapping in self.chance.sample(self.mappings, len(self.mappings)):
            mapping.drain()

    @property
    def _discarded(self) -> list[dict[str, Any]]:
        return [failure for mapping in self.mappings for failure in mapping.discarded]

    def _redrive(self) -> None:
        """Put through again what was given up, now that the right is there that was missing."""
        queue, before = FakeSqs(), self._discarded
        for failure in before:
            queue.send(json.dumps(failure))
        self.redriven = set(self._keys(before))
        sqs, dynamodb, functions = cast("tuple[Any, Any, Any]", (queue, self, None))
        names = Names("", events_table="EventsTable", users_table="UsersTable", announce="announce")
        for step in Redrive(sqs, self.stream, dynamodb, functions, names).run(dry_run=False):
            assert not step.left, step
        self._drain()
        self._check_dead_letters([failure for failure in self._discarded if failure not in before])

    # ---- what is promised ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError at a promise that was broken."""
        if self.surprises:
            raise AssertionError("the function failed") from self.surprises[0]
        by_audience: dict[str, list[Recorded]] = defaultdict(list)
        for each in self.recorded:
            by_audience[each.entry.audience].append(each)
        for client in self.clients.values():
            self._check_heard(client, by_audience)
        self._check_forgotten()
        self._check_sent_away()
        self._check_resumed(by_audience)

    def _check_dead_letters(self, failures: Iterable[dict[str, Any]]) -> None:
        """Every poison record ends in the dead-letter queue, and no other does.

        While a stage may not be posted to, its records do, and those that grew too old behind them: to be redriven.
        """
        given_up = set(self._keys(failures))
        assert self.poisons <= given_up | set(self.dead_letters)
        assert self.poisons >= set(self.dead_letters)
        if not self.api.forbidden:
            assert not given_up

    def _keys(self, failures: Iterable[dict[str, Any]]) -> list[str]:
        """Return the audience and id of each record that was given up."""
        return [
            "/".join(each["S"] for each in record["dynamodb"]["Keys"].values())
            for failure in failures
            for record in between(self.stream, failure)
        ]

    def _check_heard(self, client: Client, by_audience: dict[str, list[Recorded]]) -> None:
        """A connection hears what is for it, all of it unless it ends, in order, and nothing else."""
        who = f"{client.connection} {client.socket}"
        messages = [each for each in client.messages if each["type"] != "reconnect"]
        heard: dict[str, dict[str, Any]] = {}
        for message in messages:
            assert heard.setdefault(message["id"], message) == message, f"two messages with one id: {who}"
        contents = [message["data"]["n"] for message in heard.values()]
        assert len(contents) == len(set(contents)), f"one message with two ids: {who}"
        names = [*client.audiences, audiences.direct(client.connection.connection_id)]
        meant = {each.entry.event_id for name in names for each in by_audience[name] if client.wants(each.entry)}
        assert heard.keys() <= meant, f"heard what is not for it: {who}"
        for name in names:
            self._check_order(client, by_audience[name], list(heard), who)

    def _check_order(self, client: Client, recorded: list[Recorded], heard: list[str], who: str) -> None:
        """Within an audience, what is heard comes in order and without a gap; all of it if the connection lives.

        What was given up and redriven is late, and so may be what an array left out for a later state of the same user.
        """
        entries = {each.entry.event_id: each.entry for each in recorded}
        ids = list(entries)
        late = {name for name, entry in entries.items() if f"{entry.audience}/{name}" in self.redriven}
        if client.connection.batch:
            late |= set(_replaceable(entries.values()))
        in_order = [name for name in heard if name in entries and name not in late]
        assert in_order == sorted(in_order, key=ids.index), f"out of order: {who}: {in_order} of {ids}"
        due = [each.entry for each in recorded if each.at >= client.since and client.wants(each.entry)]
        if client.connection.batch:
            due = list(_without_replaced(due, heard))
        is_alive = client.socket.state == "open" and self.is_registered(client)
        if not is_alive:
            last = max((ids.index(name) for name in in_order), default=-1)
            due = [each for each in due if ids.index(each.event_id) < last and each.event_id not in late]
        missed = [entry for entry in due if entry.event_id not in heard]
        assert not missed, f"missed: {who}: {missed}, heard {in_order} of {ids}"

    def _check_forgotten(self) -> None:
        """Who was found gone is forgotten; who lives is not, unless it could neither be served nor closed."""
        rows = [plain(row) for row in self.tables.all("ConnectionsTable")]
        stored = {row["connection_id"] for row in rows}
        users = [plain(row) for row in self.tables.all("UsersTable")]
        known = {connection_id for user in users for connection_id in user.get("connection_ids", ())}
        assert stored == known
        for connection_id, client in self.clients.items():
            is_young = time.time() - client.connection.connected_at / 1000 < 30
            if client.socket.was_missed and not is_young:
                assert connection_id not in stored, f"gone, and not forgotten: {client.socket}"
            if client.socket.state == "open":  # so are the young ones that opened late
                assert connection_id in stored or connection_id in self.given_up, f"forgotten: {client.socket}"

    def _check_resumed(self, by_audience: dict[str, list[Recorded]]) -> None:
        """Whose connection has ended, whatever the reason, is told the rest when it comes back: late, never behind."""
        ended = [each for each in self.clients.values() if each.socket.state != "open" and len(each.messages)]
        for client in ended[:20]:
            names = {each.entry.event_id for name in client.audiences for each in by_audience[name]}
            heard = {each["id"] for each in client.messages if each.get("id") in names}
            if not heard:
                continue
            again = self.come_back(client)
            resumed = self.send(again, "resume", last_id=max(heard))
            assert resumed["data"]["recovered"], resumed
            recorded = [each for name in client.audiences for each in by_audience[name] if each.at >= client.since]
            due = [each.entry for each in recorded if client.wants(each.entry)]
            if client.connection.batch:
                due = list(_without_replaced(due, heard))
            told = heard | {each["id"] for each in again.messages}
            missed = [each for each in due if each.event_id not in told]
            assert not missed, f"never told: {client.connection}: {missed}, heard {sorted(heard)}"

    def _check_sent_away(self) -> None:
        """Who lives and was forgotten hears why, or is told to reconnect and to be closed, at its next frame."""
        told = {each.entry.audience for each in self.recorded}
        strays = [self.clients[connection_id] for connection_id in self.given_up]
        strays = [client for client in strays if client.socket.state == "open" and not self.is_registered(client)]
        for client in strays:
            is_told = audiences.direct(client.connection.connection_id) in told
            assert self.send(client, "ping")["type"] == ("error" if is_told else "reconnect")
            self._drain()
            assert client.connection.connection_id in self.farewells or is_told

    # ---- what the functions call -----------------------------------------------------------------------------------

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        """Stand for botocore's client of DynamoDB."""
        if operation.startswith("_"):
            raise AttributeError(operation)
        return lambda **request: self._call(operation, request)

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if operation == "send_message":
                self.farewells.add(json.loads(request["MessageBody"])["connection_id"])
                return {}
            if operation == "query" and request["TableName"] == "ConnectionsTable":
                return self._page(request)
            return self.tables.call(operation, request)

    def _page(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return a page of a Query of the Connections table or its index.

        moto sorts all of a table for each Query, which would take a run ten times as long: it is asked in one run of
        twenty. In the others, dictionaries answer that are kept in step with the changes of moto's tables.
        """
        if self.seed % 20 == 0:
            return self.tables.call("query", {**request, "Limit": PAGE})
        is_index = "IndexName" in request
        partition, sort = ("indexed_audience", "connection_id") if is_index else ("connection_id", "audience")
        value = request["ExpressionAttributeValues"][":audience" if is_index else ":id"]
        after = request.get("ExclusiveStartKey", {}).get(sort, {}).get("S", "")
        rows = self._rows[partition, value["S"]]
        if request.get("Select") == "COUNT":
            return {"Count": int(request["ExpressionAttributeValues"][":id"]["S"] in rows)}
        found = sorted(each for each in rows if each > after)
        page = [rows[each] for each in found[:PAGE]]
        if len(found) <= PAGE:
            return {"Items": page}
        return {"Items": page, "LastEvaluatedKey": {name: page[-1][name] for name in ("connection_id", "audience")}}

    def _changed(self, change: Change) -> None:
        match change.table:
            case "ConnectionsTable":
                connection_id, audience = change.key
                for rows, key, is_shown in (
                    (self._rows["indexed_audience", audience], connection_id, "indexed_audience" in (change.new or {})),
                    (self._rows["connection_id", connection_id], audience, change.new is not None),
                ):
                    rows.pop(key, None)
                    if change.new and is_shown:
                        rows[key] = change.new
            case "EventsTable" if change.new:
                keys = {name: change.new[name] for name in ("audience", "event_id")}
                self.stream.put("MODIFY" if change.old else "INSERT", keys, change.new)
                if not change.old and "/".join(change.key) not in self.poisons:
                    self._note(change.new)

    def _note(self, image: dict[str, Any]) -> None:
        values = plain(image)
        if values.pop("reach", None) is None:
            return  # a farewell, which `broadcast` is not shown
        entry = Entry(**{**values, "hidden_from": frozenset(values.get("hidden_from", ()))})
        self.recorded.append(Recorded(len(self.recorded), entry))

    def _invoke(self, event: dict[str, Any]) -> Any:
        self.invocations += 1
        self._plan = self._new_plan(random.Random(f"{self.seed} invocation {self.invocations}"))
        try:
            return broadcast.handler(event, self)
        except Killed:
            new_environment()
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
        return self._plan.remaining_ms

    def _checkpoint_is_lost(self) -> bool:
        return not self.is_calm and self.chance.random() < 0.03

    # ---- wiring ----------------------------------------------------------------------------------------------------

    def _install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in SETTINGS.items():
            monkeypatch.setenv(name, value)
        self.given_up: set[str] = set()
        self._seen_by_functions = _Functions(self)
        monkeypatch.setattr(clients, "client", lambda service: self._seen_by_functions)
        monkeypatch.setattr(progress, "CONGESTED_PATIENCE_S", CONGESTED_SECONDS)
        monkeypatch.setattr(backlog, "YOUNG_SECONDS", YOUNG_SECONDS)
        monkeypatch.setattr(replay, "OVERLAP_MS", 0)  # here, ids are in the order of the recording
        monkeypatch.setattr(bootstrap, "failures", lambda: _DeadLetters(self.dead_letters))
        monkeypatch.setattr(bootstrap, "poster", lambda endpoint, rate: self._engine(rate))
        self._log_level = log.logger().log_level
        log.logger().setLevel("CRITICAL")
        new_environment()

    def _engine(self, rate: int) -> Poster:
        """Make the real engine, with less patience, as a new environment does."""
        engine = _Engine(self, rate)
        self._engines.append(engine)
        return engine

    def close(self) -> None:
        """Close what a run has opened."""
        for engine in self._engines:
            engine.close()
        log.logger().setLevel(self._log_level)
        new_environment()


class _DeadLetters:
    """The queue that `broadcast` sends to what it cannot read."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def send(self, body: dict[str, Any], *, attributes: dict[str, str]) -> None:
        assert attributes["reason"]
        self._names.append("/".join(each["S"] for each in body["keys"].values()))


class _Functions:
    """The functions' client of DynamoDB: some calls fail for good, and some are the last of their process.

    Many more meet what passes, attempt by attempt.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.dynamodb = StrictDynamoDB(
            world._call,
            world.tables.get,
            clock=time.time,
            held=0.001,
            chance=random.Random(f"{world.seed} DynamoDB"),
            chances=CHANCES,
        )
        self._client = strict_dynamodb.Client(self.dynamodb.call)

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**request: Any) -> dict[str, Any]:
            plan = self._world._plan
            number = next(plan.calls)
            if number == plan.killed_at_call:
                raise Killed
            if number in plan.failing_calls:
                response: Any = {"Error": {"Code": "ThrottlingException", "Message": "chaos"}}
                raise ClientError(response, operation)
            if self._world.is_calm:
                return self._world._call(operation, request)
            return self._client.make(operation, request)

        return call


class _Engine(Poster):
    """A real Poster whose process may end at any outcome, and which notes the connections that are stuck."""

    def __init__(self, world: World, rate: int) -> None:
        self._poster = make_poster(
            world.api.url,
            "us-east-1",
            Frozen,
            posts_per_second=rate,
            post_timeout_s=10.0 if world.is_calm else POST_SECONDS,
            patience_s=30.0 if world.is_calm else PATIENCE_SECONDS,
            jitter=random.Random(world.seed).random,
        )
        self._world = world

    def deliver(self, deliveries: Iterable[D], *, until: float, close_unserved: bool = False) -> Iterator[Result[D]]:
        last = self._world._plan.killed_after_posts
        for number, result in enumerate(self._poster.deliver(deliveries, until=until, close_unserved=close_unserved)):
            if number == last:
                raise Killed
            if result.outcome is Outcome.STUCK:
                self._world.given_up.add(result.delivery.connection_id)
            yield result
        if last is not None:
            raise Killed  # all was posted, but nobody will know

    def close(self) -> None:
        self._poster.close()


def _without_replaced(entries: Collection[Entry], heard: Collection[str]) -> Iterator[Entry]:
    """Yield entries without the states of a user for which a later one was heard."""
    replaced: set[tuple[str, str]] = set()
    for entry in reversed(list(entries)):
        state = (entry.kind, entry.subject or "")
        if entry.event_id in heard or state not in replaced:
            yield entry
        if entry.subject is not None:
            replaced.add(state)


def _replaceable(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the ids of states of a user that a later one follows.

    Left out of an array for it, they may yet come where the batch is tried again in other parts: clients know the order
    of a user's states by their `version`.
    """
    latest: dict[tuple[str, str], str] = {}
    for entry in entries:
        if entry.subject is not None:
            state = (entry.kind, entry.subject)
            if state in latest:
                yield latest[state]
            latest[state] = entry.event_id


def new_environment() -> None:
    """Forget what a function's process had made."""
    bootstrap.forget()
