"""Removes what verify made, in this run and in an earlier run that was killed.

A run's queue is removed last: while it exists, a later run knows that something may be left, and of which run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from operate.verify.run import MAX_USERS, PREFIX, VerifyRun, stack_mark
from realtime.messages import ENDPOINTS

YOUNG_SECONDS = 1800
"""A younger run may still be active."""
_GONE = ("ResourceNotFoundException", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
PROBE_MAPPING = "ws/verify-probe"
_ANNOUNCED_SECONDS = 2.0  # until the last change of a test user is surely recorded for clients


async def tidy(run: VerifyRun, grace_seconds: float) -> list[str]:
    """Remove what this run made; returns what could not be removed, in words."""
    left: list[str] = []
    await _offline(run, grace_seconds)
    left += await _attempt("the test users", _remove_users(run, run.users, run.connection_ids, run.began))
    left += await _attempt(f"the rule {run.source}", _remove_rule(run, run.source))
    queue = f"{PREFIX}{stack_mark(run.deployment.stack)}-{run.run_id}"
    if run.has_failed and await run.waiting_events():
        # When these events are processed, their users are deleted already: a later run has to look again.
        return [*left, "what events of this run make that still wait in BackendEventsQueue: a run in half an hour does"]
    left += await _attempt(f"the queue {queue}", _remove_queue(run, queue))
    return left


async def tidy_earlier(run: VerifyRun) -> list[str]:
    """Remove what earlier runs left; returns which they were."""
    found = []
    for run_id, queue in await _earlier_runs(run):
        users = [f"{PREFIX}{run_id}-{number}" for number in range(MAX_USERS)]
        await _remove_users(run, users, [], float(int(run_id, 16)))
        await _remove_rule(run, f"{PREFIX}{run_id}")
        await _remove_mapping(run)
        await _remove_queue(run, queue)
        found.append(run_id)
    return found


async def _earlier_runs(run: VerifyRun) -> list[tuple[str, str]]:
    prefix = f"{PREFIX}{stack_mark(run.deployment.stack)}-"
    page = await run.call("sqs", "list_queues", QueueNamePrefix=prefix)
    runs = []
    for url in page.get("QueueUrls", []):
        name = url.rsplit("/", 1)[-1]
        run_id = name.removeprefix(prefix)
        with suppress(ValueError):
            if run_id != run.run_id and int(run_id, 16) < time.time() - YOUNG_SECONDS:
                runs.append((run_id, name))
    return runs


async def _attempt(what: str, work: Any) -> list[str]:
    try:
        await work
    except Exception as error:  # noqa: BLE001  # the rest must be removed nevertheless
        return [f"{what}: {error}"]
    return []


async def _offline(run: VerifyRun, grace_seconds: float) -> None:
    """Wait until clients have heard that the test users are offline: a user deleted earlier would seem online."""
    deadline = time.monotonic() + grace_seconds + 15
    for user in run.users:
        while time.monotonic() < deadline:
            try:
                item = await run.user_item(user)
            except Exception:  # noqa: BLE001  # a user that cannot be read cannot be waited for
                return
            if not item.get("is_online", {}).get("BOOL"):
                break
            await asyncio.sleep(0.5)
    if run.users:
        await asyncio.sleep(_ANNOUNCED_SECONDS)


async def _remove_users(run: VerifyRun, users: list[str], connection_ids: list[str], since: float) -> None:
    """Delete users, their connections and their recorded events."""
    tables = run.outputs
    ids = set(connection_ids)
    for user in users:
        ids |= await run.connections_of(user)
    for connection_id in ids:
        await _delete_all(run, tables["ConnectionsTableName"], "connection_id", "audience", connection_id)
    for user in users:
        for kind in ("feed", "presence", "watched"):  # who watches them
            await _delete_all(run, tables["ConnectionsTableName"], "connection_id", "audience", f"{kind}/{user}")
    audiences = [f"{kind}/{user}" for user in users for kind in (*ENDPOINTS, "awaited", "rate/user")]
    audiences += [f"call/{user}" for user in users] + [f"connection/{each}" for each in ids]
    for start in range(0, len(audiences), 16):
        async with asyncio.TaskGroup() as tasks:
            for audience in audiences[start : start + 16]:
                tasks.create_task(_delete_all(run, tables["EventsTableName"], "audience", "event_id", audience))
    await _delete_wide(run, users, since)
    for user in users:
        await _delete_all(run, tables["BlocksTableName"], "list_name", "part", f"blockers-of/{user}")
        await run.call("dynamodb", "delete_item", TableName=tables["UsersTableName"], Key={"user_id": {"S": user}})


async def _delete_wide(run: VerifyRun, users: list[str], since: float) -> None:
    """Delete an endpoint's events about the test users: otherwise the history of an hour would replay them."""
    first = f"{int(since * 1000):012x}"
    last = f"{int((since + 3600) * 1000):012x}"
    names = set(users)
    for endpoint in ("presence", "notifications"):
        for shard in range(int(run.number("AudienceShards", 1))):
            audience = f"{endpoint}/*/{shard}"
            async for item in _items(run, audience, first, last):
                text = item.get("message", {}).get("S", "")
                if item.get("subject", {}).get("S") in names or any(f'"{name}"' in text for name in names):
                    await run.call(
                        "dynamodb",
                        "delete_item",
                        TableName=run.outputs["EventsTableName"],
                        Key={"audience": item["audience"], "event_id": item["event_id"]},
                    )


async def _items(run: VerifyRun, audience: str, first: str, last: str) -> AsyncIterator[dict[str, Any]]:
    start: dict[str, Any] = {}
    while True:
        page = await run.call(
            "dynamodb",
            "query",
            TableName=run.outputs["EventsTableName"],
            KeyConditionExpression="audience = :audience AND event_id BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":audience": {"S": audience},
                ":first": {"S": first},
                ":last": {"S": last},
            },
            **start,
        )
        for item in page["Items"]:
            yield item
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


async def _delete_all(run: VerifyRun, table: str, hash_key: str, range_key: str, value: str) -> None:
    page = await run.call(
        "dynamodb",
        "query",
        TableName=table,
        KeyConditionExpression="#hash = :value",
        ExpressionAttributeNames={"#hash": hash_key},
        ExpressionAttributeValues={":value": {"S": value}},
        ConsistentRead=True,
    )
    for item in page["Items"]:
        key = {hash_key: item[hash_key], range_key: item[range_key]}
        await run.call("dynamodb", "delete_item", TableName=table, Key=key)


async def _remove_rule(run: VerifyRun, name: str) -> None:
    bus = run.outputs["BusName"]
    with _unless_gone():
        await run.call("events", "remove_targets", Rule=name, EventBusName=bus, Ids=["verify"])
    with _unless_gone():
        await run.call("events", "delete_rule", Name=name, EventBusName=bus)


async def _remove_queue(run: VerifyRun, name: str) -> None:
    with _unless_gone():
        url = (await run.call("sqs", "get_queue_url", QueueName=name))["QueueUrl"]
        await run.call("sqs", "delete_queue", QueueUrl=url)


async def _remove_mapping(run: VerifyRun) -> None:
    """Remove the mapping that a probe left on the stack's domain."""
    domain = run.parameters.get("DomainName")
    if not domain:
        return
    page = await run.call("apigatewayv2", "get_api_mappings", DomainName=domain)
    for mapping in page.get("Items", []):
        if mapping.get("ApiMappingKey") == PROBE_MAPPING:
            await run.call(
                "apigatewayv2", "delete_api_mapping", DomainName=domain, ApiMappingId=mapping["ApiMappingId"]
            )


class _unless_gone:  # noqa: N801  # it is used as a function
    """Take a resource that is not there for one that was removed."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _trace: object) -> bool:
        return isinstance(error, ClientError) and error.response["Error"].get("Code", "") in _GONE
