"""The whole service in one process: the real functions, and stand-ins for the AWS services around them."""

from __future__ import annotations

import json
import logging
import os
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import jwt
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from harness.account import Account
from realtime import bootstrap, ingest, log, snapshots, sweep
from realtime.audiences import direct
from realtime.aws import clients
from realtime.messages import rfc3339
from realtime.posting.api import make_poster
from realtime.posting.pacing import TokenBucket
from realtime.posting.poster import Poster
from realtime.tables import calls, membership, users
from realtime.tables.dynamodb import plain
from realtime.tables.users import User, read_user
from tests.model import runtime
from tests.model.client import Client
from tests.model.clock import Clock
from tests.model.gateway import SESSION_SECONDS, Gateway, GatewayPool, Socket
from tests.model.runtime import Failed, Runtime, Trouble
from tests.model.tables import Change, Tables
from tests.samples import backend_event, queued, sample
from tests.support import strict_dynamodb
from tests.support.strict_dynamodb import Chances, StrictDynamoDB, Throughput

CONNECTIONS, USERS, BLOCKS, EVENTS = "ConnectionsTable", "UsersTable", "BlocksTable", "EventsTable"
SECRET = "the secret of the model, which signs nothing else"
FAR_AWAY = 4_102_444_800  # 2100: no token ends meanwhile

GRACE = 10
LEASE = 900
CALL_LEASE = 3600
LATENESS = 60  # of presence
SLACK = 300
MAX_CONNECTIONS = 3
HIDDEN_SECONDS = 180  # how long SQS hides what a function was given
FAREWELL_HIDDEN_SECONDS = 60  # likewise, of farewells
ACCOUNT_RATE, ACCOUNT_BURST = 100, 50  # requests a second; AWS grants a hundred times as many
INDEX_LAG = 45  # s; the service counts on less than 60
SETTINGS = {
    "CONNECTIONS_TABLE": CONNECTIONS,
    "USERS_TABLE": USERS,
    "BLOCKS_TABLE": BLOCKS,
    "EVENTS_TABLE": EVENTS,
    "AUDIENCE_SHARDS": 2,
    "TOKEN_KEYS": "/keys",
    "JWKS_URL": "",
    "TOKEN_ISSUER": "",
    "ALLOWED_ORIGINS": "",
    "TOKEN_AUDIENCE": "",
    "MAX_TOKEN_SECONDS": 100 * 366 * 86_400,
    "REJECTION_MODE": "frame",
    "MAX_CONNECTIONS_POLICY": "evict",
    "MAX_CONNECTIONS_PER_USER": MAX_CONNECTIONS,
    "LEASE_SECONDS": LEASE,
    "CALL_LEASE_SECONDS": CALL_LEASE,
    "GRACE_PERIOD_SECONDS": GRACE,
    "HISTORY_SECONDS": 86_400,
    "PRESENCE_HISTORY_SECONDS": 3600,
    "FEED_ROLE": "listener",
    "MESSAGE_RATE": 1000,
    "MESSAGE_BURST": 1000,
    "USER_MESSAGE_RATE": 100_000,
    "COUNT_ONE_FRAME_IN": 6,
    "REFUSAL_RATE": 10_000,
    "REFUSAL_BURST": 10_000,
    "MANAGEMENT_ENDPOINT": "https://api.example.com",
    "POSTS_PER_SECOND": 5000,
    "REACH": "narrow",  # or `wide`, by the function that is invoked
    "PRESENCE_LATENESS_SECONDS": LATENESS,
    "FAILURES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/failures",
    "DEADLINES_QUEUE_URL": "deadlines",
    "REJECTED_QUEUE_URL": "rejected",
    "BACKEND_EVENTS_QUEUE_URL": "backend-events",
    "FAREWELLS_QUEUE_URL": "farewells",
    "LATE_QUEUE_URL": "late",
    "EVENT_BUS": "realtime",
}
# Errors that each attempt of a call may meet, and that retries must overcome.
CHANCES = Chances(conflict=0.05, throttle=0.03, failure=0.01, lost=0.02, partial=0.3)
# A fortieth of what AWS gives: the functions of the model make 500 calls a second, one after another.
THROUGHPUT = Throughput(writes=25, reads=75, table_writes=100, table_reads=300)


class Credentials(NamedTuple):
    """The credentials that the signer needs."""

    access_key: str
    secret_key: str
    token: str | None


@dataclass
class Check:
    """A message of the delay queue."""

    message_id: str
    body: str
    visible_at: float
    receives: int = 0


@dataclass
class Call:
    """The expected state of a call; `started_at` is in whole s."""

    participants: frozenset[str]
    started_at: int | None = None
    ended: bool = False

    @property
    def is_ongoing(self) -> bool:
        return self.started_at is not None and not self.ended


@dataclass
class Truth:
    """The expected result of the backends' events, in the order in which they were ingested."""

    calls: dict[str, Call] = field(default_factory=dict)
    busy_by_hand: dict[str, bool] = field(default_factory=dict)
    hidden_from: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    revoked_before: dict[str, int] = field(default_factory=dict)  # s

    def learn(self, event: dict[str, Any], now: int) -> None:
        kind, detail = event["detail-type"], event["detail"]
        match kind:
            case "call_started" | "call_ended":
                participants = frozenset({str(detail["user_id"]), str(detail["listener_id"])})
                call = self.calls.setdefault(str(detail["call_id"]), Call(participants))
                if kind == "call_ended":
                    call.ended = True
                elif call.started_at is None:
                    call.started_at = now
            case "status_change":
                self.busy_by_hand[str(detail["user_id"])] = detail["is_busy"]
            case "user_blocked":
                self.hidden_from[str(detail["user_id"])] |= {str(each) for each in detail["delivery"]["to"]}
            case "session_revoked":
                at = int(datetime.fromisoformat(event["time"]).timestamp())
                user_id = str(detail["user_id"])
                self.revoked_before[user_id] = max(at, self.revoked_before.get(user_id, 0))
            case "user_unblocked":
                self.hidden_from[str(detail["user_id"])] -= {str(each) for each in detail["delivery"]["to"]}

    def calls_of(self, user_id: str) -> set[str]:
        return {call_id for call_id, call in self.calls.items() if call.is_ongoing and user_id in call.participants}


class _DynamoDB:
    """The functions' client of DynamoDB: a Trouble affects a call as a whole, other failures each of its attempts."""

    def __init__(self, service: SimulatedService) -> None:
        self._service = service
        self._client = strict_dynamodb.Client(service.dynamodb.call, service.clock.advance)

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> dict[str, Any]:
            answer: dict[str, Any] = self._service.runtime.call(operation, lambda: self._make(operation, request))
            return answer

        return call

    def _make(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Make a call; it may fail for good if capacity units are missing, and for no other failure that it meets."""
        met = self._service.dynamodb.met
        before = met[strict_dynamodb.OUT_OF_UNITS]
        try:
            return self._client.make(operation, request)
        except (ClientError, BotoCoreError):
            if met[strict_dynamodb.OUT_OF_UNITS] > before:
                self._service.runtime.excuse()
            raise


class _Others:
    """The functions' client of SQS, EventBridge and SSM."""

    def __init__(self, service: SimulatedService) -> None:
        self._service = service

    def send_message(self, **request: Any) -> dict[str, Any]:
        return self._call("send_message", request)

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        return self._call("send_message_batch", request)

    def put_events(self, **request: Any) -> dict[str, Any]:
        return self._call("put_events", request)

    def change_message_visibility(self, **request: Any) -> dict[str, Any]:
        return self._call("change_message_visibility", request)

    def get_parameter(self, **request: Any) -> dict[str, Any]:
        return {"Parameter": {"Value": SECRET}}

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._service.runtime.call(
            operation, lambda: getattr(self._service, f"aws_{operation}")(request)
        )
        return answer


class SimulatedService:
    """The whole service; created once and emptied before each history. Each possible event is a method."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tables = Tables()
        self.clock = Clock()
        self.tables.on_change = self._changed
        self.dynamodb = StrictDynamoDB(
            self.tables.call, self.tables.get, clock=self.clock, chances=CHANCES, throughput=THROUGHPUT
        )
        self.runtime = Runtime(self._meanwhile, self._tick)
        self._install(monkeypatch)
        self.clear()

    def clear(self) -> None:
        """Empty the service."""
        self.tables.wipe()
        self.dynamodb.begin_anew(random.Random(random.random()))  # hypothesis seeds it for each history
        bootstrap.forget()
        self.clock.now += 100_000
        self.gateway = Gateway(Account(ACCOUNT_RATE, ACCOUNT_BURST, self.clock), self._closed_by_service, self.clock)
        self.disconnects: list[Socket] = []  # $disconnect events under way
        self.user_records: list[dict[str, Any]] = []  # of the stream, in order
        self.event_records: list[dict[str, Any]] = []
        self.backend_events: list[dict[str, Any]] = []  # on the bus, not yet ingested
        self.announced: list[dict[str, Any]] = []  # records that may yet come again
        self.ingested: list[dict[str, Any]] = []
        self.checks: list[Check] = []
        self.farewells: list[Check] = []
        self.late_messages: list[Check] = []
        self.told: list[dict[str, Any]] = []  # what the bus was told
        self.left_to_sweep: set[str] = set()  # users who lost something that no retry restores
        self.truth = Truth()
        self._published: dict[str, dict[str, Any]] = {}
        self._hidden_at: dict[tuple[str, int], set[str]] = {}  # by user and version
        self._sequence = 0
        self._frozen_at = 0.0

    # ---- clients ---------------------------------------------------------------------------------------------------

    def connect(
        self,
        user_id: str,
        endpoint: str,
        *,
        role: str | None = None,
        watch: Sequence[str] = (),
        types: Collection[str] = (),
        batch: bool = False,
        token_age: int = 0,
        trouble: Trouble | None = None,
    ) -> Socket:
        """Open a connection; a function that fails, or answers with anything but 200, refuses the handshake."""
        watching = watch if endpoint in ("feed", "presence", "live") else ()
        socket = Socket(
            connection_id=f"c{self._next():03}=",
            endpoint=endpoint,
            user_id=user_id,
            connected_at=self.clock.now,
            active_at=self.clock.now,
            issued_at=int(self.clock.now) - token_age,
            client=Client(
                watching or None,
                types,
                lambda message: self._heard(user_id, message),
                hears_both=endpoint == "live",
            ),
        )
        self.gateway.sockets[socket.connection_id] = socket
        if not self.gateway.account.take():
            socket.state, socket.closed_at = "closed", self.clock.now
            return socket
        claims = {
            "sub": user_id,
            "iat": socket.issued_at,
            "exp": FAR_AWAY,
            "username": f"name of {user_id}",
            **({"role": role} if role else {}),
        }
        event = sample("connect.token-in-query")
        event["requestContext"] |= self._context(socket)
        event["queryStringParameters"] = {
            "token": jwt.encode(claims, SECRET, "HS256"),
            **({"watch": ",".join(watching)} if watching else {}),
            **({"types": ",".join(types)} if types else {}),
            **({"batch": "true"} if batch else {}),
        }
        try:
            status = self.runtime.invoke("connect", event, trouble)["statusCode"]
        except Failed:
            status = 502
        if status == 200:
            socket.state = "open"
        else:
            socket.state, socket.closed_at = "closed", self.clock.now
            self.left_to_sweep.add(user_id)
        return socket

    def close(self, socket: Socket, *, lost: bool = False) -> None:
        """End a connection; its $disconnect will come, unless it is lost."""
        socket.state, socket.closed_at = "closed", self.clock.now
        if lost:
            self.left_to_sweep.add(socket.user_id)
        else:
            self.disconnects.append(socket)

    def disconnect(self, socket: Socket, trouble: Trouble | None = None) -> None:
        """Deliver a $disconnect, once: AWS does not try again."""
        self.disconnects.remove(socket)
        event = sample("disconnect")
        event["requestContext"] |= self._context(socket)
        try:
            self.runtime.invoke("disconnect", event, trouble)
        except Failed:
            self.left_to_sweep.add(socket.user_id)

    def send(self, socket: Socket, kind: str, user_ids: Sequence[str] = (), trouble: Trouble | None = None) -> None:
        """Send a client's frame, and let it hear the answer; one too many for the account closes its connection."""
        if socket.state == "open" and not self.gateway.account.take():
            self.close(socket)
            return
        client = socket.client
        socket.active_at = self.clock.now
        event = sample("default.ping")
        event["requestContext"] |= self._context(socket)
        event["body"] = client.ask(kind, user_ids)
        hidden_before = self._hiding(socket.user_id)
        pages = len(client.received)
        try:
            answer = self.runtime.invoke("default", event, trouble)["body"]
        except Failed:
            answer = (
                '{"message":"Internal server error","connectionId":"RfGx1dQAIAMCIhA=","requestId":"RfGx0HyAIAMF1lg="}'
            )
        if socket.state == "open":
            client.hear(answer)
        client.answered(kind, user_ids)
        shown = {
            str(user["user_id"])
            for message in client.received[pages:]
            if message.get("type") == "snapshot"
            for user in message["data"]["users"]
        }
        leaked = shown & hidden_before & self._hiding(socket.user_id)
        assert not leaked or self.tables.is_lagging, f"{socket.user_id} was shown {leaked}, who blocked them"

    def _context(self, socket: Socket) -> dict[str, Any]:
        return {
            "connectionId": socket.connection_id,
            "stage": socket.endpoint,
            "connectedAt": int(socket.connected_at * 1000),
            "requestTimeEpoch": int(self.clock.now * 1000),
            "messageId": f"{self._next():012}",
        }

    def _closed_by_service(self, socket: Socket) -> None:
        self.close(socket)

    def _heard(self, watcher: str, message: dict[str, Any]) -> None:
        user_id, version = str(message["data"]["user_id"]), message["version"]
        hidden_from = self._hidden_at[user_id, version] & self.hidden_from(user_id)  # unblocked since then: no harm
        assert watcher not in hidden_from, f"{watcher} heard of {user_id}, who had blocked them: {message}"

    def _hiding(self, watcher: str) -> set[str]:
        users = (plain(item)["user_id"] for item in self.tables.all(USERS))
        return {user_id for user_id in users if watcher in self.hidden_from(user_id)}

    def hidden_from(self, user_id: str) -> set[str]:
        """Return whom a user has blocked, as their item and their list say."""
        user = self.user(user_id)
        hidden = set(user.hidden_from) if user else set()
        for row in map(plain, self.tables.all(BLOCKS)):
            if row["list_name"] == f"blocked-by/{user_id}":
                hidden |= row.get("user_ids", frozenset())
        return hidden

    def noted_blocks(self, user_id: str) -> set[str]:
        """Return whom a user has blocked, as it is noted at those whom it concerns."""
        rows = map(plain, self.tables.all(BLOCKS))
        kind = "blockers-of/"
        return {
            row["list_name"].removeprefix(kind)
            for row in rows
            if row["list_name"].startswith(kind) and row["part"] == user_id
        }

    # ---- backends --------------------------------------------------------------------------------------------------

    def publish(self, kind: str, detail: dict[str, Any], *, later: bool = False) -> None:
        """Put a backend's event on the bus, which delivers it at once, or later."""
        event_id = f"event-{self._next()}"
        event = {
            **backend_event("call_started"),
            "id": event_id,
            "detail-type": kind,
            "time": rfc3339(self.clock.ms),
            "detail": detail,
        }
        self._published[event_id] = event
        self.backend_events.append(event)
        if not later:
            self.ingest(event)

    def block(self, user_id: str, other: str, *, is_blocked: bool = True, later: bool = False) -> None:
        """Let a user block another one, or unblock them."""
        kind = "user_blocked" if is_blocked else "user_unblocked"
        detail = {"user_id": user_id, "username": "somebody", "delivery": {"to": [other]}}
        self.publish(kind, detail, later=later)

    def ingest(self, event: dict[str, Any], trouble: Trouble | None = None, *, again: bool = False) -> None:
        """Deliver an event of the bus. It comes again if it failed, and may come again if it did not."""
        try:
            failures = self.runtime.invoke("ingest", queued(event), trouble)["batchItemFailures"]
        except Failed:
            failures = [{}]
        again = again or bool(failures)
        if not again and event in self.backend_events:  # else something that happened meanwhile delivered it, too
            self.backend_events.remove(event)
            self.ingested.append(event)

    # ---- streams and queues ----------------------------------------------------------------------------------------

    def announce(self, records: list[dict[str, Any]], trouble: Trouble | None = None, *, again: bool = False) -> None:
        """Deliver records of the Users stream."""
        self._deliver("announce", self.user_records, records, trouble, again=again)
        self.announced += [record for record in records if record not in self.announced]

    def broadcast(self, records: list[dict[str, Any]], trouble: Trouble | None = None, *, again: bool = False) -> None:
        """Deliver records of the Events stream."""
        for reach in ("narrow", "wide"):  # a function each
            shown = [record for record in records if record["reach"] == reach]
            os.environ["REACH"] = reach
            self._deliver("broadcast", self.event_records, shown, trouble, again=again)
            trouble = trouble if not shown else None

    def _deliver(
        self,
        function: str,
        pending: list[dict[str, Any]],
        records: list[dict[str, Any]],
        trouble: Trouble | None,
        *,
        again: bool,
    ) -> None:
        """Deliver records, all of which come again where the checkpoint was not set."""
        if not records:
            return
        try:
            failures = self.runtime.invoke(function, {"Records": records}, trouble)["batchItemFailures"]
        except Failed:
            return
        done = records
        if failures:
            numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
            done = records[: numbers.index(failures[0]["itemIdentifier"])]
        if not again:
            for record in done:
                if record in pending:  # else something that happened meanwhile delivered it, too
                    pending.remove(record)

    def due_checks(self) -> list[Check]:
        return [check for check in self.checks if check.visible_at <= self.clock.now]

    def check(
        self, checks: list[Check], trouble: Trouble | None = None, *, again: bool = False, lost: bool = False
    ) -> None:
        """Deliver messages of the delay queue; those that fail are hidden for a while, and lost after five times."""
        if not checks:
            return
        if lost:
            self._lose(checks)
            return
        for check in checks:
            check.visible_at = self.clock.now + HIDDEN_SECONDS
            check.receives += 1
        event = sample("deadlines.offline")
        (record,) = event["Records"]
        event["Records"] = [{**record, "messageId": check.message_id, "body": check.body} for check in checks]
        try:
            failed = {
                failure["itemIdentifier"]
                for failure in self.runtime.invoke("deadlines", event, trouble)["batchItemFailures"]
            }
        except Failed:
            failed = {check.message_id for check in checks}
        if not again:
            done = {check.message_id for check in checks} - failed
            self.checks = [check for check in self.checks if check.message_id not in done]
        self._lose([check for check in self.checks if check.receives >= 5])

    def farewell(self, trouble: Trouble | None = None) -> None:
        """Deliver the farewells that are due; those of a failed invocation come again."""
        due = [each for each in self.farewells if each.visible_at <= self.clock.now]
        if not due:
            return
        for each in due:
            each.visible_at = self.clock.now + FAREWELL_HIDDEN_SECONDS
        (record,) = sample("farewell.refused")["Records"]
        event = {"Records": [{**record, "messageId": each.message_id, "body": each.body} for each in due]}
        try:
            failures = self.runtime.invoke("farewell", event, trouble)["batchItemFailures"]
        except Failed:
            return
        assert not failures
        self.farewells = [each for each in self.farewells if each not in due]

    def late(self, trouble: Trouble | None = None, *, again: bool = False) -> None:
        """Deliver the messages of the late queue that are due; those of a failed invocation come again."""
        due = [each for each in self.late_messages if each.visible_at <= self.clock.now][:10]
        if not due:
            return
        for each in due:
            each.visible_at = self.clock.now + HIDDEN_SECONDS
        event = {"Records": [{"messageId": each.message_id, "body": each.body} for each in due]}
        try:
            answer = self.runtime.invoke("late", event, trouble)
        except Failed:
            return
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        if not again:
            self.late_messages = [each for each in self.late_messages if each not in due or each.message_id in failed]

    def _lose(self, checks: list[Check]) -> None:
        self.left_to_sweep |= {json.loads(check.body)["user_id"] for check in checks}
        self.checks = [check for check in self.checks if check not in checks]

    def sweep(self, trouble: Trouble | None = None) -> None:
        """Run the scheduled function of this minute."""
        try:
            self.runtime.invoke("sweep", {}, trouble)
        except Failed:
            return

    # ---- time ------------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float, *, lost: bool = False) -> None:
        """Let time pass; API Gateway ends connections after 2 h."""
        self.clock.advance(seconds)
        for socket in self.gateway.sockets.values():
            if socket.state == "open" and self.clock.now - socket.connected_at > SESSION_SECONDS:
                self.close(socket, lost=lost)

    def freeze_reads(self) -> None:
        """Let eventually consistent reads lag behind from now on, for less time than the service counts on."""
        self.tables.freeze_reads()
        self._frozen_at = self.clock.now

    def _tick(self) -> None:
        """Let time pass for a call to AWS."""
        self.clock.advance(0.002)
        if self.clock.now - self._frozen_at > INDEX_LAG:
            self.tables.thaw_reads()

    def deliver_all(self) -> None:
        """Deliver everything in progress, except for the delay queue's messages."""
        while self.disconnects or self.backend_events or self.user_records or self.event_records:
            for socket in list(self.disconnects):
                self.disconnect(socket)
            for event in list(self.backend_events):
                self.ingest(event)
            self.announce(list(self.user_records))
            self.broadcast(list(self.event_records))

    def settle(self) -> None:
        """Finish all work in the time that the docs promise: a lease, one sweep, a grace period.

        If nothing was lost for good, a grace period must suffice.
        """
        self.tables.thaw_reads()
        self.gateway.account.calm_down()
        for socket in self.gateway.sockets.values():
            socket.posts_meet = None
        self._rest(0)
        self._rest(GRACE + 1)
        self._rest(HIDDEN_SECONDS)
        while self.late_messages:
            self._rest(HIDDEN_SECONDS)
        for user_id in {socket.user_id for socket in self.gateway.sockets.values()} - self.left_to_sweep:
            user = self.user(user_id)
            assert user is None or user.is_online == bool(self.present(user_id)), f"only a sweep can set right {user}"
        self.pass_time(max(LEASE, self._longest_lease_of_a_ghost()))
        self.sweep()
        self._rest(1)
        self._rest(GRACE + 1)
        for socket in self.open_sockets():
            if socket.client.is_stale and socket.is_registered:
                self.send(socket, "sync")

    def _longest_lease_of_a_ghost(self) -> float:
        """Return for how long the sweep will ask about no ghost: those who never sent much get longer leases."""
        sessions = [row for row in map(plain, self.tables.all(CONNECTIONS)) if "lease_until" in row]
        ghosts = [each for each in sessions if self.gateway.sockets[each["connection_id"]].state == "closed"]
        return max((each["lease_until"] + 1 - self.clock.now for each in ghosts), default=0.0)

    def _rest(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.deliver_all()
        self.check(self.due_checks())
        self.farewell()
        self.deliver_all()
        self.late()
        self.deliver_all()

    def _meanwhile(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("deliver",):
                self.deliver_all()
            case ("connect", user_id, endpoint):
                self.connect(user_id, endpoint, role="listener")
            case ("close", number):
                sockets = self.open_sockets()
                if sockets:
                    socket = sockets[number % len(sockets)]
                    self.close(socket)
                    self.disconnect(socket)
            case ("revoke", user_id):
                self.publish("session_revoked", {"user_id": user_id})
            case ("block", pair):
                self.block(*pair)
            case ("checks",):
                self.check(self.due_checks())
            case ("late",):
                self.late()
            case ("sweep",):
                self.sweep()
            case ("wait", seconds):
                self.pass_time(seconds)
            case _:
                raise ValueError(action)

    # ---- the real state, and the checks of changes in the tables -----------------------------------------------------

    def open_sockets(self) -> list[Socket]:
        return [socket for socket in self.gateway.sockets.values() if socket.state == "open"]

    def present(self, user_id: str) -> set[str]:
        """Return the connections that make a user present."""
        return {
            socket.connection_id
            for socket in self.gateway.sockets.values()
            if socket.counts and socket.user_id == user_id
        }

    def user(self, user_id: str) -> User | None:
        """Return a user as stored."""
        found = self.tables.get(USERS, {"user_id": {"S": user_id}})
        return read_user(found) if found else None

    def _changed(self, change: Change) -> None:
        match change.table:
            case "ConnectionsTable":
                connection_id, audience = change.key
                if change.new and audience == direct(connection_id):
                    self.gateway.sockets[connection_id].is_registered = True
            case "UsersTable":
                self._user_changed(change)
            case "EventsTable":
                self._event_recorded(change)

    def _user_changed(self, change: Change) -> None:
        assert change.new, "nothing deletes a user"
        old, new = read_user(change.old) if change.old else None, read_user(change.new)
        self._hidden_at[new.user_id, new.version] = self.hidden_from(new.user_id)
        if old and old.is_online and not new.is_online:
            for socket in self.gateway.sockets.values():
                if socket.user_id == new.user_id and socket.is_registered:
                    assert socket.ended_at is not None, f"{new.user_id} went offline while {socket} lasted"
                    assert socket.ended_at <= self.clock.now - GRACE, f"{new.user_id} went offline within the grace"
        self.user_records.append(self._record(change, "OldImage", "NewImage"))

    def _event_recorded(self, change: Change) -> None:
        kind, _, rest = change.key[0].partition("/")
        if not change.new:
            return
        if kind == "ingested" and change.key[1] == "-" and not change.old:
            self.truth.learn(self._published[rest], int(self.clock.now))
        elif kind == "call":
            self._learn_from_call(plain(change.old or {}), plain(change.new))
            self._call_changed(self.truth.calls[rest], plain(change.new))
        elif "reach" in change.new:
            if kind == "connection" and "close" in change.new and self.gateway.sockets[rest].dismissed_at is None:
                self.gateway.sockets[rest].dismissed_at = self.clock.now
            reach = change.new["reach"]["S"]
            for each in ("narrow", "wide") if reach == "both" else (reach,):
                self.event_records.append({**self._record(change, "NewImage"), "reach": each})

    def _learn_from_call(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Learn the event that a call's item has the mark of since now."""
        for event_id, event in self._published.items():
            mark = calls.Report(event_id, "").mark
            if mark in new and mark not in old:
                self.truth.learn(event, int(self.clock.now))

    def _call_changed(self, call: Call, stored: dict[str, Any]) -> None:
        if "ended_at" in stored and call.is_ongoing:  # no event says so: it was let go
            assert call.started_at is not None
            assert self.clock.now - call.started_at >= CALL_LEASE, "a call was let go too early"
            call.ended = True

    def _record(self, change: Change, *images: str) -> dict[str, Any]:
        shown = {"OldImage": change.old, "NewImage": change.new}
        return {
            "eventName": "MODIFY" if change.old else "INSERT",
            "dynamodb": {
                "SequenceNumber": f"{self._next():021}",
                **{image: shown[image] for image in images if shown[image]},
            },
        }

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    # ---- other services that the functions call ---------------------------------------------------------------------

    def aws_send_message(self, request: dict[str, Any]) -> dict[str, Any]:
        message_id = f"check-{self._next()}"
        if request["QueueUrl"] == SETTINGS["FAREWELLS_QUEUE_URL"]:
            self.farewells.append(Check(message_id, request["MessageBody"], self.clock.now + request["DelaySeconds"]))
            return {"MessageId": message_id}
        if request["QueueUrl"] == SETTINGS["LATE_QUEUE_URL"]:
            visible_at = self.clock.now + request.get("DelaySeconds", 0)
            self.late_messages.append(Check(message_id, request["MessageBody"], visible_at))
            return {"MessageId": message_id}
        assert request["QueueUrl"] == SETTINGS["DEADLINES_QUEUE_URL"], f"rejected: {request}"
        self.checks.append(Check(message_id, request["MessageBody"], self.clock.now + request["DelaySeconds"]))
        return {"MessageId": message_id}

    def aws_send_message_batch(self, request: dict[str, Any]) -> dict[str, Any]:
        for entry in request["Entries"]:
            self.aws_send_message({"QueueUrl": request["QueueUrl"], **entry})
        return {}

    def aws_change_message_visibility(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["QueueUrl"] == SETTINGS["BACKEND_EVENTS_QUEUE_URL"]
        return {}

    def aws_put_events(self, request: dict[str, Any]) -> dict[str, Any]:
        self.told += [{"type": each["DetailType"], **json.loads(each["Detail"])} for each in request["Entries"]]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": f"told-{self._next()}"} for _ in request["Entries"]]}

    def _install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace AWS by this service for the functions."""
        runtime.install(monkeypatch)
        self.clock.install(monkeypatch, runtime.MODULES)
        self.clock.install_in_pyjwt(monkeypatch)
        for name, value in SETTINGS.items():
            monkeypatch.setenv(name, str(value))
        dynamodb = _DynamoDB(self)
        monkeypatch.setattr(clients, "client", lambda service: dynamodb if service == "dynamodb" else _Others(self))
        monkeypatch.setattr(bootstrap, "poster", self._poster)
        # Fewer calls, and pages that a few users fill.
        monkeypatch.setattr(sweep, "SEGMENTS", 1)
        monkeypatch.setattr(membership, "ONLINE_SHARDS", 2)
        monkeypatch.setattr(calls, "OPEN_CALLS_SHARDS", 1)
        for module in (users, ingest):  # a second block finds no room in the user's item
            monkeypatch.setattr(module, "FEW_BLOCKS", 1)
        monkeypatch.setattr(snapshots, "MAX_FRAME_BYTES", 300)
        log.logger()
        monkeypatch.setattr(logging.getLogger("realtime"), "disabled", True)

    def _poster(self, url: str, rate: int, *_: object) -> Poster:
        """Return the real Poster on a pool without a network, one for each function that asks."""
        return make_poster(
            url,
            "us-east-1",
            lambda: Credentials("AKIDEXAMPLE", "secret", None),
            quota=TokenBucket(rate, burst=max(1.0, rate / 2)),
            open_pool=lambda: GatewayPool(self.gateway, self.runtime.call, self.clock.advance),
            clock=self.clock,
        )
