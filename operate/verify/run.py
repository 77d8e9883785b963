"""The stack that is verified, and the users, tokens and connections that the scenes have."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from operate import tokens
from operate.deployment import Deployment
from operate.verify.client import Client
from operate.verify.diagnosis import Complaint, advise, complaint
from operate.verify.lines import FailedError
from operate.verify.runner import WITHIN

PREFIX = "realtime-verify-"
"""The prefix of the names of all that verify makes: users, a rule, a queue. No real user may have such an id."""
USERNAME = "realtime verify"
MAX_USERS = 64
"""The most users of a run, so that a later run can name the users of one that was killed."""
_REGISTERED_WITHIN = 20.0
_COMPLAINTS = '?ERROR ?CRITICAL ?"timed out" ?"not authorized" ?ManageConnections'
_LOG_PAGES = 20


@dataclass(frozen=True)
class Options:
    """Optional checks: `everyone` sends a test message to all connected clients, `slow` takes 11 minutes more, and
    `probe_changes` makes and removes a mapping that clients could use.
    """

    everyone: bool = False
    slow: bool = False
    probe_changes: bool = False
    patience_seconds: float = WITHIN
    """How long a message may take."""
    idle_seconds: float = 660.0
    """How long `slow` leaves connections idle."""


class VerifyRun:
    """One run of `realtime verify`: `run_id` is in the names of all that it makes, and says when the run began."""

    def __init__(self, deployment: Deployment, options: Options, http: aiohttp.ClientSession) -> None:
        """Bind a run to a stack."""
        self.deployment, self.options, self.http = deployment, options, http
        self.outputs: Mapping[str, str] = deployment.outputs
        self.began = time.time()
        self.run_id = f"{int(self.began):08x}"
        self.parameters: dict[str, str] = {}
        self.account = ""
        self.keys: dict[str | None, str] = {}
        self.issued: list[str] = []
        self.users: list[str] = []
        self.connection_ids: list[str] = []
        self.handshake_seconds: list[float] = []
        self.unreadable_frames = 0
        self.has_failed = False
        self.ear: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = threading.Lock()
        self._numbers = itertools.count()

    # ---- the stack ------------------------------------------------------------------------------------------------

    async def describe(self) -> None:
        """Read the stack's settings."""
        described = await self.call("cloudformation", "describe_stacks", StackName=self.deployment.stack)
        stack = described["Stacks"][0]
        self.account = stack["StackId"].split(":")[4]
        self.parameters = {
            each["ParameterKey"]: each.get("ResolvedValue", each.get("ParameterValue", ""))
            for each in stack.get("Parameters", [])
        }

    @property
    def is_emulated(self) -> bool:
        """Return whether it is a stack on an emulator."""
        return bool(self.parameters.get("ApiTag"))

    @property
    def source(self) -> str:
        """Return the source of what verify puts on the bus."""
        return f"{PREFIX}{self.run_id}"

    def number(self, parameter: str, otherwise: float) -> float:
        """Return a parameter that is a number."""
        return float(self.parameters.get(parameter, otherwise))

    def execute_api_url(self) -> str:
        """Return the URL at which clients reach the API without a domain; `/{stage}` follows."""
        if self.is_emulated:
            return self.deployment.websocket_url.removesuffix("/ws")
        region = str(self.deployment.clients.region)
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"wss://{self.outputs['ApiId']}.execute-api.{region}.{suffix}"

    # ---- AWS ------------------------------------------------------------------------------------------------------

    def aws(self, service: str, endpoint_url: str = "") -> Any:
        """Return a client of a service, by botocore's name for it."""
        with self._making:  # botocore makes clients in one thread at a time
            key = service, endpoint_url
            if key not in self._clients:
                self._clients[key] = self.deployment.clients.client(service, endpoint_url or None)
            return self._clients[key]

    async def call(self, service: str, operation: str, **arguments: Any) -> Any:
        """Ask AWS something."""

        def ask() -> Any:
            return getattr(self.aws(service), operation)(**arguments)

        return await asyncio.to_thread(ask)

    async def manage(self, endpoint: str, operation: str, **arguments: Any) -> Any:
        """Send a request to the management API of a stage, with the operator's own credentials."""

        def ask() -> Any:
            client = self.aws("apigatewaymanagementapi", f"{self.outputs['ManagementUrl'].rstrip('/')}/{endpoint}")
            return getattr(client, operation)(**arguments)

        return await asyncio.to_thread(ask)

    async def publish(self, kind: str, detail: Mapping[str, Any] | str, **delivery: Any) -> str:
        """Put one event on the bus as a backend does; returns its id. A text is put there as it is."""
        text = (
            detail
            if isinstance(detail, str)
            else json.dumps({**detail, **({"delivery": delivery} if delivery else {})})
        )
        return await asyncio.to_thread(self.deployment.publish, kind, text, self.source)

    async def user_item(self, user: str) -> dict[str, Any]:
        """Return a user's item as DynamoDB has it; empty if there is none."""
        found = await self.call(
            "dynamodb",
            "get_item",
            TableName=self.outputs["UsersTableName"],
            Key={"user_id": {"S": user}},
            ConsistentRead=True,
        )
        item: dict[str, Any] = found.get("Item", {})
        return item

    async def connections_of(self, user: str) -> set[str]:
        """Return the ids of a user's registered connections."""
        return set((await self.user_item(user)).get("connection_ids", {"SS": []})["SS"])

    async def recorded(self, audience: str) -> list[dict[str, Any]]:
        """Return the events that are recorded for an audience, oldest first."""
        found = await self.call(
            "dynamodb",
            "query",
            TableName=self.outputs["EventsTableName"],
            KeyConditionExpression="audience = :audience",
            ExpressionAttributeValues={":audience": {"S": audience}},
            ConsistentRead=True,
        )
        items: list[dict[str, Any]] = found["Items"]
        return items

    # ---- users and their connections --------------------------------------------------------------------------------

    def new_user(self) -> str:
        """The id of a new user."""
        number = next(self._numbers)
        if number >= MAX_USERS:
            raise ValueError("more users than a later run would clean up")
        user = f"{self.source}-{number}"
        self.users.append(user)
        return user

    def token(self, user: str, **claims: Any) -> str:
        """Return a token for a user, with the claims that the stack asks for."""
        more = {
            name: self.parameters[parameter]
            for name, parameter in (("issuer", "TokenIssuer"), ("audience", "TokenAudience"))
            if self.parameters.get(parameter)
        }
        claims = {"username": USERNAME, "ttl": 1800.0, **more, **claims}
        token = tokens.sign(self.keys, user, **claims)
        self.issued.append(token)
        return token

    @asynccontextmanager
    async def connect(
        self,
        endpoint: str,
        user: str,
        *,
        base: str = "",
        by: str = "query",
        query: Mapping[str, str] | None = None,
        **claims: Any,
    ) -> AsyncIterator[Client]:
        """Open a connection of a user, and wait until it is registered.

        Raises:
            FailedError: the service let it in and does not register it.
        """
        before = await self.connections_of(user)
        token = self.token(user, **claims)
        async with self.open(endpoint, token, base=base, by=by, query=query) as client:
            client.user = user
            client.connection_id = await self._registered(client, before)
            self.connection_ids.append(client.connection_id)
            try:
                yield client
            finally:
                self.unreadable_frames += len(client.unreadable)

    @asynccontextmanager
    async def open(
        self,
        endpoint: str,
        token: str | None,
        *,
        base: str = "",
        by: str = "query",
        query: Mapping[str, str] | None = None,
        compress: int = 0,
    ) -> AsyncIterator[Client]:
        """Open a connection, which may not be registered yet."""
        parameters = dict(query or {}) | ({"token": token} if token and by == "query" else {})
        headers = {"Authorization": f"Bearer {token}"} if by == "header" else {}
        protocols = ("bearer", str(token)) if by == "subprotocol" else ()
        began = time.monotonic()
        async with self.http.ws_connect(
            f"{base or self.deployment.websocket_url}/{endpoint}",
            params=parameters,
            headers=headers,
            protocols=protocols,
            compress=compress,
            max_msg_size=0,
        ) as socket:
            self.handshake_seconds.append(time.monotonic() - began)
            yield Client(socket)

    async def _registered(self, client: Client, before: set[str]) -> str:
        """Wait until a connection is registered; returns its id.

        Raises:
            FailedError: it is refused, or not registered in time.
        """
        refusal = asyncio.create_task(client.hears("error"))
        deadline = time.monotonic() + _REGISTERED_WITHIN
        try:
            while time.monotonic() < deadline:
                if new := await self.connections_of(client.user) - before:
                    return new.pop()
                done, _ = await asyncio.wait({refusal}, timeout=0.1)
                if done:
                    raise self.refused(refusal.result()["data"])
        finally:
            refusal.cancel()
            await asyncio.wait({refusal})
        raise FailedError("the handshake succeeded, but the connection is in no table")

    def refused(self, data: Mapping[str, Any]) -> FailedError:
        """Return the failure for an `error` frame that refuses a good token, with advice."""
        code, message = data.get("code"), data.get("message")
        if code == "AUTH_FAILED":
            place = self.outputs.get("TokenKeys", "")
            advice = (
                f"connect does not accept a token that was signed with the first key of {place}. If its keys were "
                "changed within the last 5 minutes, wait: functions read them again only then. Else see that the "
                "parameters TokenKeys and TokenKeysSecretArn name these keys, and that TokenIssuer and TokenAudience "
                "are as you mean them."
            )
            return FailedError(f"a good token is refused: {code}: {message}", advice)
        return FailedError(f"refused: {code}: {message}")

    # ---- what functions say -----------------------------------------------------------------------------------------

    async def complaints(self, *functions: str) -> list[Complaint]:
        """The complaints that functions, such as `broadcast-wide`, logged since this run began."""
        found: list[Complaint] = []
        for name in functions:
            key = "".join(part.capitalize() for part in name.split("-"))
            group = self.outputs.get(f"{key}LogName")
            if group:
                try:
                    texts = [event["message"] for event in await self.logged(group, self.began, _COMPLAINTS)]
                except Exception:  # noqa: BLE001, S112  # then there is no better advice
                    continue
                found += [each for text in texts if (each := complaint(name, text))]
        return found

    async def logged(self, group: str, since: float, pattern: str = "") -> list[dict[str, Any]]:
        """Return the events of a log since a time (s) that fit a CloudWatch pattern, which emulators may ignore."""
        arguments: dict[str, Any] = {"logGroupName": group, "startTime": int(since * 1000)}
        if pattern and not self.is_emulated:
            arguments["filterPattern"] = pattern
        found: list[dict[str, Any]] = []
        for _ in range(_LOG_PAGES):  # a page may be empty, and others follow
            page = await self.call("logs", "filter_log_events", **arguments)
            found += page.get("events", [])
            if not page.get("nextToken"):
                break
            arguments["nextToken"] = page["nextToken"]
        return found

    async def waiting_events(self) -> int:
        """Return how many events of backends wait for `ingest`."""
        answer = await self.call(
            "sqs",
            "get_queue_attributes",
            QueueUrl=self.outputs["BackendEventsQueueUrl"],
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )
        return sum(int(value) for value in answer["Attributes"].values())

    async def advice(self, otherwise: str, *functions: str) -> str:
        """The advice that the functions' complaints give, else the given advice."""
        return advise(await self.complaints(*functions)) or otherwise


def stack_mark(stack: str) -> str:
    """Return a short name of a stack, for the names of queues, which have at most 80 characters."""
    return hashlib.sha256(stack.encode()).hexdigest()[:6]


async def until(holds: Any, every: float = 0.2) -> Any:
    """Wait until an asynchronous function returns something true, and return it; the caller limits the time."""
    while not (answer := await holds()):  # noqa: ASYNC110  # it is AWS that is asked
        await asyncio.sleep(every)
    return answer
