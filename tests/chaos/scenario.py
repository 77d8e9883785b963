"""The script of one run of the chaos: its clients, events and failures. A seed decides all of them."""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import default
from operate.redrive import Names, Redrive, receive_all
from realtime import audiences
from realtime.ids import make_event_id
from realtime.messages import ENDPOINTS, TYPES, encode
from realtime.tables.blocks import Blocks
from realtime.tables.connections import Connection, Connections
from realtime.tables.dynamodb import item
from realtime.tables.entries import Change, Entry, Message
from realtime.tables.outbox import Outbox
from tests.chaos.api import Socket, Step, Trouble
from tests.chaos.client import STAGES, Client
from tests.chaos.promises import check_dead_letters, keys_of
from tests.chaos.runtime import Runtime
from tests.samples import sample
from tests.support.fake_sqs import FakeSqs

CONNECTIONS, EVENTS, USERS = 500, 50, 60
SHARDS = 4
LEASE_SECONDS = 1800  # longer than a run
TRANSIENT: tuple[Step, ...] = (429, 429, 429, 500, 503, *Trouble)
ALWAYS: tuple[Step, ...] = (429, 429, 500, 503, Trouble.RESET, Trouble.SLOW_ERROR)


@dataclass(frozen=True)
class _Blocked:
    """Whom a user has blocked, and whether they are on a list or in each of the user's changes."""

    others: frozenset[str]
    is_listed: bool


class Scenario:
    """The script of one run, from the first connection until no more failures happen and all work is done."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.clients: dict[str, Client] = {}
        self.redriven: set[str] = set()  # audience and id of each entry
        self._chance = runtime.chance
        self._numbers = itertools.count()
        self._outbox = Outbox(cast("Any", runtime), "EventsTable")
        self._connections = Connections(cast("Any", runtime), "ConnectionsTable")
        self.blocks: dict[str, _Blocked] = {}
        self._store_blocks()
        if runtime.seed % 5 == 1:
            runtime.api.forbidden = self._chance.choice(STAGES)
        for _ in range(CONNECTIONS):
            self.connect()
        self._store_users(self.clients.values())

    # ---- clients ---------------------------------------------------------------------------------------------------

    def connect(self) -> Client:
        """Open a connection, with the troubles that it will have."""
        chance = self._chance
        number = next(self._numbers)
        user = str(chance.randrange(USERS))
        stage = chance.choice(STAGES)
        endpoints = frozenset({stage} if stage != "live" else chance.sample(ENDPOINTS, chance.choice((2, 3, 4, 4, 4))))
        may_watch = not endpoints.isdisjoint({"feed", "presence"})
        watched = chance.sample(range(USERS), 2) if may_watch and chance.random() < 0.3 else ()
        is_young = chance.random() < 0.02
        connected_at = time.time() + (600 if is_young else -1800)  # however slow this machine is
        connection = Connection(
            connection_id=f"c{self.runtime.seed}-{number}=",
            stage=stage,
            user_id=user,
            connected_at_ms=int(connected_at * 1000),
            token_expires_at_s=int(connected_at) + 7200,
            types=self._types(stage, endpoints),
            batch=chance.random() < 0.25,
            chosen=endpoints if stage == "live" else frozenset(),
        )
        subscribed = audiences.initial_audiences(
            stage, user, connection.connection_id, SHARDS, [str(each) for each in watched], endpoints
        )
        self.runtime.api.account.take()  # the handshake
        socket = Socket(connection.connection_id)
        if is_young:
            socket.state = chance.choice(["connecting", "open"])
        elif chance.random() < 0.15:
            self._trouble(socket)
        blockers = frozenset(each for each, blocked in self.blocks.items() if user in blocked.others)
        client = Client(connection, subscribed, socket, since=len(self.runtime.recorded), blockers=blockers)
        self.runtime.api.sockets[connection.connection_id] = socket
        self._register(client)
        self.clients[connection.connection_id] = client
        return client

    def _types(self, stage: str, endpoints: frozenset[str]) -> frozenset[str]:
        """Return the types that a connection is filtered by, as `connect` stores them."""
        known = frozenset[str]().union(*(TYPES[each] for each in endpoints))
        if self._chance.random() < 0.1:
            return frozenset(self._chance.sample(sorted(known), 1))
        return known if stage == "live" and len(endpoints) < len(ENDPOINTS) else frozenset()

    def _register(self, client: Client) -> None:
        connection, subscribed = client.connection, client.subscribed
        for write in self._connections.registration_writes(
            connection, subscribed, lease_until_s=int(time.time()) + LEASE_SECONDS
        ):
            self.runtime.put_item(**write.request)
        self._connections.subscribe_rest(connection, subscribed)

    def _store_users(self, clients: Iterable[Client]) -> None:
        """Give users their new connections."""
        of_user: dict[str, set[str]] = defaultdict(set)
        for client in clients:
            of_user[client.connection.user_id].add(client.connection.connection_id)
        for user, connection_ids in of_user.items():
            self.runtime.update_item(
                TableName="UsersTable",
                Key=item({"user_id": user}),
                UpdateExpression="ADD connection_ids :ids",
                ExpressionAttributeValues=item({":ids": frozenset(connection_ids)}),
            )

    def _trouble(self, socket: Socket) -> None:
        chance = self._chance
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
        return self.runtime.tables.get("ConnectionsTable", item(key)) is not None

    def open_handshakes(self) -> None:
        """Finish the handshakes in progress; their clients will hear entries that are recorded from now on."""
        for client in self.clients.values():
            if client.socket.state == "connecting":
                client.socket.state, client.since = "open", len(self.runtime.recorded)

    def send(self, client: Client, kind: str, **data: Any) -> dict[str, Any]:
        """Let a client send a frame, and return the answer."""
        self.runtime.api.account.take()
        event = sample("default.ping")
        event["requestContext"] |= {
            "connectionId": client.connection.connection_id,
            "stage": client.connection.stage,
        }
        event["body"] = json.dumps({"type": kind, "data": data})
        answer: dict[str, Any] = json.loads(default.handler(event, None)["body"])
        return answer

    def come_back(self, client: Client) -> Client:
        """Let a client whose connection has ended open another, of the same kind."""
        connection = replace(client.connection, connection_id=f"again-{client.connection.connection_id}")
        socket, since = Socket(connection.connection_id), len(self.runtime.recorded)
        again = replace(client, connection=connection, socket=socket, since=since)
        self.runtime.api.sockets[connection.connection_id] = again.socket
        self._register(again)
        return again

    # ---- events ----------------------------------------------------------------------------------------------------

    def record(self, audience_names: Iterable[str], kind: str, **more: Any) -> None:
        """Record an event for audiences, as `ingest` and `announce` do."""
        number = next(self._numbers)
        now = int(self.runtime.stream.now * 1000) + number  # each later than the last
        name = make_event_id(now, str(self.runtime.seed), str(number))
        message = encode(kind, {"n": number, "text": "x" * self._chance.choice((10, 10, 100, 9000))}, now, name)
        expires_at = int(self.runtime.stream.now) + 86_400
        self._outbox.put_all(Entry(audience, name, kind, message, expires_at, **more) for audience in audience_names)

    def _store_blocks(self) -> None:
        """Let some users block some others: most of them on a list, as if they had more."""
        blocks = Blocks(cast("Any", self.runtime), "BlocksTable")
        for user in map(str, range(USERS)):
            if self._chance.random() < 0.2:
                others = frozenset(map(str, self._chance.sample(range(USERS), 3)))
                listed = blocks.list_writes(user, others, blocked=True) if self._chance.random() < 0.6 else []
                self.blocks[user] = _Blocked(others, bool(listed))
                for write in (*listed, *blocks.writes(user, others, blocked=True)):
                    operation = {"Put": self.runtime.put_item, "Update": self.runtime.update_item}[write.kind]
                    operation(**write.request)

    def record_change(self, user: str, kinds: Mapping[str, str]) -> None:
        """Record a change of a user, as `announce` does; `kinds` are the types of its messages, by endpoint."""
        number = next(self._numbers)
        now = int(self.runtime.stream.now * 1000) + number
        told = {}
        for endpoint, kind in kinds.items():
            name = make_event_id(now, str(self.runtime.seed), endpoint)
            told[endpoint] = Message(name, kind, encode(kind, {"n": number}, now, name))
        expires_at = int(self.runtime.stream.now) + 86_400
        self._outbox.put_all(
            Change(audience, user, told, expires_at, is_for_watchers=shard == 0, **self._hidden_from(user))
            for shard, audience in enumerate(audiences.everyone("presence", SHARDS))
        )

    def _hidden_from(self, user: str) -> dict[str, Any]:
        """Return what a change of a user says about their blocks."""
        blocked = self.blocks.get(user)
        if blocked is None:
            return {}
        return {"listed_blocks": len(blocked.others)} if blocked.is_listed else {"hidden_from": blocked.others}

    def record_something(self) -> None:
        """Record an event of a random kind."""
        chance = self._chance
        user = str(chance.randrange(USERS))
        match chance.choices(("calls", "notifications", "everyone", "presence", "direct"), (5, 4, 2, 6, 1))[0]:
            case "calls":
                other = str(chance.randrange(USERS))
                names = {audiences.personal("calls", each) for each in (user, other)}
                self.record(names, chance.choice(sorted(TYPES["calls"])), **self._lifetime())
            case "notifications":
                kind = chance.choice(sorted(TYPES["notifications"]))
                self.record([audiences.personal("notifications", user)], kind, **self._lifetime())
            case "everyone":
                self.record(audiences.everyone("notifications", SHARDS), "system_notification", **self._lifetime())
            case "presence":
                endpoints = chance.choice((["presence", "feed"], ["presence"], ["feed"]))
                kinds = {endpoint: chance.choice(sorted(TYPES[endpoint])) for endpoint in endpoints}
                self.record_change(user, kinds)
            case _:
                client = chance.choice(list(self.clients.values()))
                name = audiences.direct(client.connection.connection_id)
                self.record([name], "error", stage=client.connection.stage, close=True)

    def _lifetime(self) -> dict[str, int]:
        """Return when a message expires: mostly never, or in a day; or it has expired already."""
        choice = self._chance.random()
        if choice < 0.1:
            return {"not_after_s": int(time.time()) - 60}
        return {"not_after_s": int(time.time()) + 86_400} if choice < 0.3 else {}

    def record_poison(self) -> None:
        """Put an item that no function of ours would write between the others in the Events table."""
        user = str(self._chance.randrange(USERS))
        endpoint = self._chance.choice(ENDPOINTS)
        audience = self._chance.choice(
            [audiences.personal(endpoint, user), self._chance.choice(audiences.everyone(endpoint, SHARDS))]
        )
        number = next(self._numbers)
        good = Entry(
            audience, make_event_id(number, "poison"), "call_started", '{"poison":true}', int(time.time()) + 86_400
        )
        image = good.as_item()
        match self._chance.randrange(5):
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
        self.runtime.poisons.add("/".join(image[name]["S"] for name in ("audience", "event_id")))
        self.runtime.put_item(TableName="EventsTable", Item=image)

    # ---- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run all events and failures, finish the work without failures, then post to the audiences of who is lost.

        Whatever is left of the subscriptions of such a connection leads to it. If nothing but its session is left,
        `sweep` finds it when its lease has run out.
        """
        chance = self._chance
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
                    self.runtime.api.account.others_take(
                        chance.choice((0.5, 0.95, 1.0)), chance.choice((0.05, 0.2, 0.5))
                    )
                self.runtime.poll()
        self.open_handshakes()
        self.runtime.drain()
        check_dead_letters(self, self.runtime.discarded)
        self._calm_down()

    def _calm_down(self) -> None:
        self.runtime.calm_down()
        for client in self.clients.values():
            client.socket.posts_meet = client.socket.deletes_meet = client.socket.leaves_after = None
            client.socket.troubles.clear()
        if self.runtime.api.forbidden:
            self.runtime.api.forbidden = None
            self._redrive()
        suspects = [client for client in self.clients.values() if client.socket.state != "open"]
        wanted = {each for client in suspects for each in self._heard(client)}
        for name, kind in sorted(wanted):
            user = "nobody" if audiences.is_wide(name) else audiences.watched_user(name)
            if audiences.is_presence(name) and user not in self.blocks:
                self.record_change(user, {audiences.endpoint_of(name): kind})
            else:  # about a user with blocks, too: nothing but an entry without a subject reaches all who watch them
                self.record([name], kind)
        self.runtime.drain()
        self.runtime.serve_late()
        self.runtime.sweep(int((time.time() + 2 * LEASE_SECONDS) * 1000))

    @staticmethod
    def _heard(client: Client) -> Iterator[tuple[str, str]]:
        """Yield the audiences of a client, each with a type that it hears there."""
        for name in client.audiences:
            known = TYPES[audiences.endpoint_of(name)]
            if kinds := known & (client.connection.types or known):
                yield name, min(kinds)

    def _redrive(self) -> None:
        """Redrive the records that were given up, now that the missing right exists."""
        queue, before = FakeSqs(), self.runtime.discarded
        for failure in before:
            queue.send(json.dumps(failure))
        self.redriven = set(keys_of(self.runtime.stream, before))
        sqs, dynamodb, functions = cast("tuple[Any, Any, Any]", (queue, self.runtime, None))
        names = Names("", events_table="EventsTable", users_table="UsersTable", announce="announce")
        (failures,) = receive_all(sqs, names.queue_url)
        for step in Redrive(sqs, self.runtime.stream, dynamodb, functions, names).run(failures, dry_run=False):
            assert not step.left, step
        self.runtime.drain()
        check_dead_letters(self, [failure for failure in self.runtime.discarded if failure not in before])
