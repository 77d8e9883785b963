"""Sockets of one user that close and open at the same moment, as those of a reloaded page do.

Real threads run the real handlers with botocore's real client, on a DynamoDB whose transactions take time and conflict.
They take turns on a clock of their own, so that the overlaps do not depend on the machine. A small number of rounds is
part of the tests; `make model` makes 500.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import jwt
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

import connect
import deadlines
import disconnect
import ingest
from harness.turns import Turns
from realtime import bootstrap, log
from realtime.audiences import connection_of
from realtime.aws import clients, retries
from realtime.deadlines import offline_check
from realtime.tables.dynamodb import plain
from tests.model.runtime import Context
from tests.model.service import CONNECTIONS, EVENTS, FAR_AWAY, SECRET, SETTINGS, USERS
from tests.model.tables import Tables
from tests.samples import backend_event, queued, sample
from tests.support.strict_dynamodb import StrictDynamoDB, attach

ROUNDS = int(os.environ.get("RACE_ROUNDS", "25"))
HANDSHAKES = 20
SOCKETS = ("feed", "presence", "calls", "notifications")
TRANSACTION_SECONDS = 0.008  # for which it is at its items
WAY_SECONDS = 0.006  # a request's, at most
LONGEST_SECONDS = 5  # of the 10 that the functions have


class Keys:
    """Replaces the clients of the services that store the token keys."""

    def get_parameter(self, **_: object) -> dict[str, Any]:
        return {"Parameter": {"Value": SECRET}}

    def send_message(self, **_: object) -> dict[str, Any]:
        return {}  # a farewell: the entry that goes with it tells as much


class Races:
    """The service, and sockets that open and close all at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {**SETTINGS, "MAX_CONNECTIONS_PER_USER": 20}.items():
            monkeypatch.setenv(name, str(value))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        self.tables = Tables()
        self.turns = Turns()
        for module in (retries, botocore.endpoint):
            shown = SimpleNamespace(**{**vars(time), "monotonic": self.turns, "sleep": self.turns.sleep})
            monkeypatch.setattr(module, "time", shown)
        self.dynamodb = StrictDynamoDB(
            self.tables.call, self.tables.get, clock=self.turns, sleep=self.turns.sleep, held=TRANSACTION_SECONDS
        )
        clients.session.cache_clear()
        clients.client.cache_clear()
        client = clients.client("dynamodb")
        self._transport = attach(client, self.dynamodb)
        monkeypatch.setattr(client._endpoint, "http_session", SimpleNamespace(send=self._send, close=lambda: None))
        self.requests = 0
        monkeypatch.setattr(clients, "client", lambda service: client if service == "dynamodb" else Keys())
        log.logger().setLevel("CRITICAL")
        bootstrap.forget()
        bootstrap.admission()
        bootstrap.disconnect_registry()
        bootstrap.ingestion()
        self.failures: list[str] = []
        self.longest = 0.0  # s that a function took

    def close(self) -> None:
        clients.session.cache_clear()
        log.logger().setLevel("INFO")
        bootstrap.forget()

    def _send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Let a request take its time on the way."""
        self.turns.sleep(random.uniform(0.001, WAY_SECONDS))
        self.requests += 1
        return self._transport.send(request)

    def _timed(self, act: Callable[[], None]) -> Callable[[], None]:
        def timed() -> None:
            began = self.turns.now
            act()
            self.longest = max(self.longest, self.turns.now - began)

        return timed

    def opening(self, user_id: str, connection_id: str, endpoint: str, **more: int) -> Callable[[], None]:
        claims = {"sub": user_id, "exp": FAR_AWAY, "role": "listener", **more}
        event = sample("connect.token-in-query")
        event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}
        event["queryStringParameters"] = {"token": jwt.encode(claims, SECRET, "HS256")}

        def open_it() -> None:
            answer = connect.handler(event, Context())
            if answer["statusCode"] != 200:
                self.failures.append(f"$connect of {connection_id}: {answer}")

        return self._timed(open_it)

    def revoking(self, user_id: str, after_s: float) -> Callable[[], None]:
        """Revoke a user's sessions, a little after the others have begun."""
        event = {**backend_event("session_revoked"), "id": f"revoking-{user_id}", "detail": {"user_id": user_id}}

        def revoke() -> None:
            self.turns.sleep(after_s)
            assert ingest.handler(queued(event), Context()) == {"batchItemFailures": []}

        return revoke

    def closed(self) -> set[str]:
        """Return the connections that are told to go, by an entry of the outbox."""
        entries = map(plain, self.tables.all(EVENTS))
        return {str(connection_of(each["audience"])) for each in entries if each.get("close")}

    def closing(self, connection_id: str, endpoint: str) -> Callable[[], None]:
        event = sample("disconnect")
        event["requestContext"] |= {"connectionId": connection_id, "stage": endpoint}

        def close_it() -> None:
            try:
                disconnect.handler(event, Context())
            except Exception as problem:  # noqa: BLE001  # as Lambda does; API Gateway does not try again
                self.failures.append(f"$disconnect of {connection_id}: {problem}")

        return self._timed(close_it)

    def look_again(self, user_id: str) -> None:
        """Let the check come that follows when the last connection has gone."""
        event = sample("deadlines.offline")
        event["Records"][0]["body"] = json.dumps(offline_check(user_id, self.user(user_id)["left_at"], ""))
        assert deadlines.handler(event, Context()) == {"batchItemFailures": []}

    def user(self, user_id: str) -> dict[str, Any]:
        return plain(self.tables.get(USERS, {"user_id": {"S": user_id}}) or {})

    def stored(self, user_id: str) -> set[str]:
        rows = map(plain, self.tables.all(CONNECTIONS))
        return {row["connection_id"] for row in rows if row["user_id"] == user_id}


@pytest.fixture
def races(monkeypatch: pytest.MonkeyPatch) -> Iterator[Races]:
    races = Races(monkeypatch)
    yield races
    races.close()


@pytest.mark.timeout(900)
def test_four_sockets_that_close_and_open_at_once_leave_no_ghost_and_no_false_online_user(races: Races) -> None:
    random.seed(0)
    ghosts: list[str] = []
    still_online: list[str] = []
    for number in range(ROUNDS):
        user_id = str(number)
        old = {f"old-{number}-{endpoint}": endpoint for endpoint in SOCKETS}
        new = {f"new-{number}-{endpoint}": endpoint for endpoint in SOCKETS}
        races.turns.run(*(races.opening(user_id, *each) for each in old.items()))
        races.turns.run(
            *(races.closing(*each) for each in old.items()), *(races.opening(user_id, *each) for each in new.items())
        )
        if not races.user(user_id)["connection_ids"] == races.stored(user_id) == new.keys():
            ghosts.append(user_id)
        races.turns.run(*(races.closing(*each) for each in new.items()))
        races.look_again(user_id)
        if races.user(user_id)["is_online"] or races.stored(user_id):
            still_online.append(user_id)
    met = races.dynamodb.met
    told = f"{ROUNDS} rounds, {races.requests} requests, the longest {races.longest:.2f} s, met {dict(met)}"
    print(told)  # noqa: T201  # figures for a run with -s
    assert not races.failures, f"{len(races.failures)} failed, {len(ghosts)} users with ghosts: {told}"
    assert (ghosts, still_online) == ([], []), told
    assert races.longest < LONGEST_SECONDS, told
    assert met["TransactionConflict"] > ROUNDS, "the sockets did not meet"
    assert met["TransactionConflictException"] > ROUNDS, "the sockets did not meet"


@pytest.mark.timeout(900)
def test_no_handshake_under_way_outlasts_a_revocation_and_the_token_stays_out(races: Races) -> None:
    random.seed(1)
    revoked_at_s = int(datetime.fromisoformat(backend_event("session_revoked")["time"]).timestamp())
    left: list[set[str]] = []
    refused = registered = 0
    for number in range(max(3, ROUNDS // 5)):
        user_id = str(number)
        names = [f"{user_id}-{one}" for one in range(HANDSHAKES)]
        before = races.closed()
        races.turns.run(
            *(races.opening(user_id, each, "calls", iat=revoked_at_s - 60) for each in names),
            races.revoking(user_id, random.uniform(0, 0.3)),
        )
        stored, told = races.stored(user_id), races.closed() - before
        left.append(stored - told)
        registered += len(stored)
        refused += len(told - stored)
        races.turns.run(races.opening(user_id, f"{user_id}-again", "calls", iat=revoked_at_s - 1))
        races.turns.run(races.opening(user_id, f"{user_id}-fresh", "calls", iat=revoked_at_s))
        assert races.stored(user_id) - stored == {f"{user_id}-fresh"}
    assert not races.failures
    assert not any(left), f"connections with a revoked token that nobody closes: {left}"
    assert registered, "no handshake came before the revocation"
    assert refused, "no handshake came after the revocation"
