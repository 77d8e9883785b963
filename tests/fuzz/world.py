"""A world for fuzzing: the functions' own code over an AWS in which every call works, without sockets and tables.

AWS refuses what it would refuse: texts that UTF-8 cannot encode, and characters that SQS does not take.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from realtime import bootstrap
from realtime.aws import clients
from realtime.log import logger
from tests.samples import KEY_ID, SECRET, sample
from tests.support.fake_sqs import check_message
from tests.unit.fakes import FakePoster

STORY_BEGINS: Final = 1_705_314_600  # s; 2024-01-15T10:30:00Z, when the samples are set
QUEUES: Final = ("backend-events", "rejected", "deadlines", "failures", "farewells", "late")
ENVIRONMENT: Final = {
    **{name: name for name in ("CONNECTIONS_TABLE", "USERS_TABLE", "BLOCKS_TABLE", "EVENTS_TABLE", "EVENT_BUS")},
    **{f"{name.upper().replace('-', '_')}_QUEUE_URL": name for name in QUEUES},
    **dict.fromkeys(("JWKS_URL", "TOKEN_ISSUER", "TOKEN_AUDIENCE", "ALLOWED_ORIGINS"), ""),
    "TOKEN_KEYS": "/keys",
    "MAX_TOKEN_SECONDS": "3153600000",
    "AUDIENCE_SHARDS": "2",
    "REJECTION_MODE": "handshake",
    "MAX_CONNECTIONS_PER_USER": "20",
    "MAX_CONNECTIONS_POLICY": "evict",
    "LEASE_SECONDS": "900",
    "GRACE_PERIOD_SECONDS": "10",
    "REFUSAL_RATE": "10000",
    "REFUSAL_BURST": "10000",
    "MESSAGE_RATE": "1000",
    "MESSAGE_BURST": "1000",
    "USER_MESSAGE_RATE": "100000",
    "COUNT_ONE_FRAME_IN": "6",
    "HISTORY_SECONDS": "86400",
    "PRESENCE_HISTORY_SECONDS": "3600",
    "PRESENCE_LATENESS_SECONDS": "10",
    "POSTS_PER_SECOND": "5000",
    "MANAGEMENT_ENDPOINT": "https://api.example.com",
    "FEED_ROLE": "listener",
    "REACH": "narrow",
    "AWS_DEFAULT_REGION": "us-east-1",
    "CONFIGURATION_VERSION": "1",
}


class Context:
    """What Lambda tells a function of its invocation."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


_NOTHING: Final[dict[str, Any]] = {
    "Responses": {},
    "UnprocessedKeys": {},
    "UnprocessedItems": {},
    "Count": 0,
    "ScannedCount": 0,
}


class EasyAws:
    """Every client of AWS: each write succeeds, each read finds nothing but the one connection of the samples.

    That is its session, and what it watches since the last invocation began.
    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []  # to queues
        self.writes = 0  # of tables
        self.session: dict[str, Any] | None = None
        self.watched: dict[str, Any] | None = None

    def __call__(self, _service: str) -> EasyAws:
        return self

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        answer = getattr(self, f"_{operation}", None)

        def call(**request: Any) -> dict[str, Any]:
            try:
                json.dumps(request, ensure_ascii=False, default=str).encode()
            except UnicodeEncodeError:
                response: Any = {"Error": {"Code": "SerializationException", "Message": "no UTF-8"}}
                raise ClientError(response, operation) from None
            if answer is not None:
                made: dict[str, Any] = answer(request)
                return made
            self.writes += operation.startswith(("put_item", "update", "transact", "batch_write", "delete_item"))
            return _NOTHING | {"Items": []}

        return call

    def _get_item(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["Key"].items()
        found = [each for each in (self.session, self.watched) if each and wanted <= each.items()]
        return {"Item": found[0]} if found else {}

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        of_connection = {"connection_id": request["ExpressionAttributeValues"].get(":id")}.items()
        found = [each for each in (self.session, self.watched) if each and of_connection <= each.items()]
        return _NOTHING | {"Items": found, "Count": len(found)}

    def _update_item(self, request: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        values = {name[1:]: value for name, value in request["ExpressionAttributeValues"].items()}
        if "state" in values:
            self.watched = {**request["Key"], **values, "version": values["next"]}
        return {}

    def _transact_write_items(self, request: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        for each in request["TransactItems"]:
            item = each.get("Put", {}).get("Item", {})
            if "lease_until" in item:
                self.session = item
        return {}

    def _get_parameter(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"Parameter": {"Value": json.dumps({KEY_ID: SECRET})}}

    def _send_message(self, request: dict[str, Any]) -> dict[str, Any]:
        check_message(request)
        self.sent.append(request)
        return {}

    def _send_message_batch(self, request: dict[str, Any]) -> dict[str, Any]:
        for each in request["Entries"]:
            self._send_message({**each, "QueueUrl": request["QueueUrl"]})
        return {"Successful": [], "Failed": []}

    def _put_events(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}


class Levels(logging.Handler):
    """Keeps the last message of the functions' log, and the worst level since it was asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self.reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()
        self.reason = str(getattr(record, "reason", "") or getattr(record, "code", ""))


class World:
    """The functions, ready to be invoked; there is one in a process, because they keep what they make."""

    def __init__(self) -> None:
        os.environ.update(ENVIRONMENT)
        self.aws, self.poster, self.log = EasyAws(), FakePoster(), Levels()
        clients.client = self.aws  # type: ignore[assignment]  # for this process
        bootstrap.poster = lambda *_: self.poster
        bootstrap.forget()
        logger().handlers[:] = [self.log]
        self.now = STORY_BEGINS + 0.4
        time.time = lambda: self.now
        self.invoke("connect", sample("connect.token-in-query"))
        assert self.aws.session, "the samples' session was not registered"

    def invoke(self, function: str, event: dict[str, Any]) -> Any:
        """Invoke a function, and forget what the one before left."""
        self.aws.sent.clear()
        self.poster.deliveries.clear()
        self.poster.in_lane.clear()
        self.aws.writes, self.aws.watched = 0, None
        self.now += 0.05  # s; so that no limit of messages a second decides
        self.log.last = self.log.reason = ""
        return importlib.import_module(function).handler(event, Context())
