"""A running stack, and clients of it, for end-to-end tests: real sockets, real events, real policies."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import boto3
from yarl import URL

from operate import tokens
from operate.deployment import Deployment
from operate.logs import LogReader, log_groups
from operate.state import Running, StateFolder
from operate.verify import client as verify_client

WITHIN = 30.0
"""Seconds that any wait may take: enough for a function's cold start on a busy machine, which takes longest by far."""

Message = verify_client.Message
Predicate = verify_client.Predicate
Item = dict[str, Any]


async def eventually(holds: Callable[[], bool], what: str, within: float | None = None) -> None:
    """Wait until a condition holds that no message announces."""
    deadline = time.monotonic() + (within or WITHIN)
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.05)


class Witness:
    """Sees all that is said between the stack and its clients and backends; this one has nothing to say of it."""

    def heard(self, text: str) -> None:
        """See a frame that a client received."""

    def sent(self, frame: dict[str, Any]) -> None:
        """See a frame that a client is about to send."""

    def published(self, kind: str, detail: dict[str, Any]) -> None:
        """See an event that a backend is about to put on the bus."""

    def told(self, event: dict[str, Any]) -> None:
        """See an event that a backend received from the bus."""


class Client:
    """One connection. `heard`: all its messages, from `frames` frames; `unread`: those that no `hears` has returned."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, witness: Witness | None = None) -> None:
        self.socket = socket
        self.witness = witness or Witness()
        self.heard: list[Message] = []
        self.unread: list[Message] = []
        self.frames = 0

    async def send(self, kind: str, **data: Any) -> None:
        """Send a frame of a type."""
        frame = {"type": kind, "data": data}
        self.witness.sent(frame)
        await self.socket.send_json(frame)

    async def hears(self, wanted: str | Predicate, within: float | None = None) -> Message:
        """Return the first unread message of a type, or for which a predicate holds. Earlier messages stay unread."""
        deadline = time.monotonic() + (within or WITHIN)
        return await verify_client.take_first(self.unread, wanted, lambda: self._receive(deadline, wanted))

    async def pings(self) -> Message:
        """Ping, and wait for the answer: all earlier posts have arrived by then."""
        await self.send("ping")
        return await self.hears("pong")

    async def snapshot(self, kind: str = "sync", **data: Any) -> dict[int | str, Message]:
        """Request a snapshot, wait for all its pages, and return its users by id."""
        await self.send(kind, **data)
        shown: dict[int | str, Message] = {}
        complete = False
        while not complete:
            page = (await self.hears("snapshot"))["data"]
            shown |= {user["user_id"]: user for user in page["users"]}
            complete = page["complete"]
        return shown

    async def closed(self, within: float | None = None) -> int | None:
        """Wait until the service ends the connection; returns the close code."""
        async with asyncio.timeout(within or WITHIN):
            while True:
                frame = await self.socket.receive()
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    return self.socket.close_code
                self._take(frame.data)

    async def _receive(self, deadline: float, wanted: object) -> None:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):  # to aiohttp, 0 means for ever
                frame = await self.socket.receive()
        except TimeoutError:
            raise AssertionError(f"never heard {wanted}; heard {json.dumps(self.heard, indent=2)}") from None
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise AssertionError(f"closed ({self.socket.close_code}) before {wanted}; heard {self.heard}")
        self._take(frame.data)

    def _take(self, text: str) -> None:
        self.frames += 1
        self.witness.heard(text)
        heard = json.loads(text)
        messages = heard if isinstance(heard, list) else [heard]
        self.heard += messages
        self.unread += messages


class Stack:
    """The embedded stack that all end-to-end tests share. Each test uses users of its own: `new_user()`."""

    def __init__(
        self, folder: StateFolder, running: Running, parameters: dict[str, str], witness: Witness | None = None
    ) -> None:
        self.folder, self.running, self.parameters = folder, running, parameters
        self.witness = witness or Witness()
        self.deployment = Deployment.embedded(running)
        self.outputs = running.outputs
        self.issued: list[str] = []
        self.dynamodb = self.aws("dynamodb")
        self._keys = self.deployment.token_keys()
        self._users = itertools.count(int(time.time() * 1000))  # new to a stack that earlier sessions have used, too

    def new_user(self) -> int:
        """The id of a user that no other test uses."""
        return next(self._users)

    def token(self, user: int | str, **claims: Any) -> str:
        """Return a token for a user; claims as `realtime token` takes them."""
        token = tokens.sign(self._keys, str(user), **claims)
        self.issued.append(token)
        return token

    def publish(self, kind: str, detail: dict[str, Any], **delivery: Any) -> str:
        """Put an event on the bus as a backend does, and return its id."""
        whole = detail | ({"delivery": delivery} if delivery else {})
        self.witness.published(kind, whole)
        return self.deployment.publish(kind, json.dumps(whole), "tests")

    @asynccontextmanager
    async def connect(
        self,
        endpoint: str,
        user: int | str | None = None,
        *,
        token: str | None = None,
        query: dict[str, str] | None = None,
        settled: bool = True,
        **claims: Any,
    ) -> AsyncIterator[Client]:
        """Connect as a user, or with a given token. `settled` waits until the service has registered the connection."""
        given = token if user is None else self.token(user, **claims)
        parameters = (query or {}) | ({"token": given} if given is not None else {})
        url = f"{self.running.websocket_url}/{endpoint}"
        async with aiohttp.ClientSession() as http, http.ws_connect(url, params=parameters) as socket:
            client = Client(socket, self.witness)
            if settled and user is not None:
                await client.pings()
            yield client

    async def quiet(self, within: float = 60.0) -> None:
        """Wait until all earlier events are delivered: one more user comes online, whose event is delivered last."""
        user = self.new_user()
        async with self.connect("presence", user, settled=False) as client:
            await client.hears(lambda message: message["data"].get("user_id") == user, within)

    def user(self, user: int | str) -> Item:
        """Return a user's item as DynamoDB has it; empty if there is none."""
        key = {"user_id": {"S": str(user)}}
        found = self.dynamodb.get_item(TableName=self.outputs["UsersTableName"], Key=key, ConsistentRead=True)
        item: Item = found.get("Item", {})
        return item

    def connection_ids(self, user: int | str) -> list[str]:
        """Return the ids of a user's registered connections."""
        return list(self.user(user).get("connection_ids", {"SS": []})["SS"])

    def is_connected(self, user: int | str) -> bool:
        """Return whether a user has a registered connection."""
        return bool(self.connection_ids(user))

    def connection(self, connection_id: str) -> dict[str, Item]:
        """Return the items of a connection, by audience."""
        found = self.dynamodb.get_paginator("scan").paginate(
            TableName=self.outputs["ConnectionsTableName"],
            FilterExpression="connection_id = :id OR audience = :id",  # the latter for watched users
            ExpressionAttributeValues={":id": {"S": connection_id}},
            ConsistentRead=True,
        )
        items: dict[str, Item] = {}
        for item in (each for page in found for each in page["Items"]):
            listing, audience, stage = (item[name]["S"] for name in ("connection_id", "audience", "endpoint"))
            if listing != connection_id:  # `watched/{user}`, whatever the stage
                audience = listing if stage == "live" else listing.replace("watched", stage, 1)
            items[audience] = item
        return items

    def change_session(self, connection_id: str, **values: int) -> None:
        """Set numbers of a connection's session."""
        self.dynamodb.update_item(
            TableName=self.outputs["ConnectionsTableName"],
            Key={"connection_id": {"S": connection_id}, "audience": {"S": f"connection/{connection_id}"}},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in values),
            ExpressionAttributeValues={f":{name}": {"N": str(value)} for name, value in values.items()},
        )

    def age(self, connection_id: str, seconds: float) -> None:
        """Make a connection look older by some seconds: the service does not rely on a 410 of a new one."""
        connected_at = int((time.time() - seconds) * 1000)
        for item in self.connection(connection_id).values():
            self.dynamodb.update_item(
                TableName=self.outputs["ConnectionsTableName"],
                Key={name: item[name] for name in ("connection_id", "audience")},
                UpdateExpression="SET connected_at = :then",
                ExpressionAttributeValues={":then": {"N": str(connected_at)}},
            )

    async def sweep(self) -> None:
        """Run a sweep now, not with the next minute; a sweep that fails is an error."""
        invoked = await asyncio.to_thread(
            self.aws("lambda").invoke, FunctionName=self.outputs["SweepFunctionName"], Qualifier="live"
        )
        assert "FunctionError" not in invoked, invoked["Payload"].read()

    @asynccontextmanager
    async def withheld_disconnects(self) -> AsyncIterator[None]:
        """Withhold $disconnect, which API Gateway does not promise."""
        await self.set_gateway(withhold_disconnect=True)
        try:
            yield
        finally:
            await self.set_gateway(withhold_disconnect=False)

    def aws(self, service: str, endpoint_url: str | None = None) -> Any:
        """Return a client of a service of the emulator, or of a service with an endpoint of its own."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=endpoint_url or self.running.aws_endpoint_url,
            region_name=self.running.region,
            aws_access_key_id=self.running.access_key,
            aws_secret_access_key=self.running.secret_key,
        )

    def queue(self, name: str) -> Queue:
        """Return a queue by its logical id, such as `RejectedEventsQueue`."""
        return Queue(self.aws("sqs"), self.outputs[f"{name}Url"])

    @asynccontextmanager
    async def bus_events(self) -> AsyncIterator[Queue]:
        """A queue that gets the service's events on the bus."""
        sqs, events = self.aws("sqs"), self.aws("events")
        name = f"told-{next(self._users)}"
        bus = self.outputs["BusName"]
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": ["realtime"]})
        events.put_rule(Name=name, EventBusName=bus, EventPattern=pattern)
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
        try:
            yield Queue(sqs, url, lambda body: self.witness.told(json.loads(body)))
        finally:
            events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
            events.delete_rule(Name=name, EventBusName=bus)
            sqs.delete_queue(QueueUrl=url)

    def restart_function(self, name: str) -> None:
        """End the processes that run a function, with their caches; the next call starts a new one."""
        for pid in self._processes(name):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + WITHIN
        while self._processes(name):  # or the next call might still be given to one of them
            assert time.monotonic() < deadline, f"the processes of {name} do not end"
            time.sleep(0.02)

    def _processes(self, name: str) -> list[int]:
        """Return the ids of the processes that run a function."""
        worker = f"{self.folder.path}/tmp/ministack-lambda-{self.outputs[f'{name}FunctionName']}-"
        listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
        lines = (line.split(maxsplit=1) for line in listed.splitlines()[1:])
        return [int(pid) for pid, command in lines if worker in command]

    async def set_gateway(self, **settings: Any) -> None:
        """Change settings of the gateway, such as `withhold_disconnect`."""
        async with aiohttp.ClientSession() as http, http.patch(self._gateway("settings"), json=settings) as answer:
            assert answer.status == 200, await answer.text()

    async def kill(self, connection_id: str) -> None:
        """Drop a connection's socket without a close frame, as a broken network does."""
        url = self._gateway(f"connections/{quote(connection_id, safe='')}/kill")
        async with aiohttp.ClientSession() as http, http.post(URL(url, encoded=True)) as answer:
            assert answer.status == 204, await answer.text()

    def _gateway(self, path: str) -> str:
        port = self.running.websocket_url.rsplit(":", 1)[1].split("/")[0]
        return f"http://127.0.0.1:{port}/_gateway/{path}"

    def logs_of(self, function: str) -> list[str]:
        """Return what a function, such as `deadlines`, has logged so far."""
        names = {function: log_groups(self.outputs)[function]}
        return [line.text for line in LogReader(self.deployment.clients.logs(), names).read()]

    def logs(self) -> str:
        """Everything that any part of the stack has logged so far."""
        lines = LogReader(self.deployment.clients.logs(), log_groups(self.outputs)).read()
        files = [path.read_text(encoding="utf-8", errors="replace") for path in self.folder.path.rglob("*.log")]
        return "\n".join([*(line.text for line in lines), *files])


class Queue:
    """A queue in which a test searches for messages."""

    def __init__(self, sqs: Any, url: str, seen: Callable[[str], None] = lambda _: None) -> None:
        """Take a client and the address; `seen` is shown each body."""
        self._sqs, self._url, self._seen = sqs, url, seen

    async def holds(self, wanted: Callable[[str], bool], within: float | None = None) -> tuple[str, dict[str, str]]:
        """Wait for a message whose body the predicate accepts, delete it, and return its body and attributes."""
        deadline = time.monotonic() + (within or WITHIN)
        seen: list[str] = []
        while time.monotonic() < deadline:
            received = await asyncio.to_thread(
                self._sqs.receive_message,
                QueueUrl=self._url,
                WaitTimeSeconds=1,
                VisibilityTimeout=1,
                MessageAttributeNames=["All"],
            )
            for message in received.get("Messages", []):
                seen.append(message["Body"])
                self._seen(message["Body"])
                if wanted(message["Body"]):
                    self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                    attributes = message.get("MessageAttributes", {})
                    return message["Body"], {name: value["StringValue"] for name, value in attributes.items()}
        raise AssertionError(f"no such message in {self._url}; saw {seen}")
