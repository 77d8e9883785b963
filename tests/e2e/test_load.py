"""Five hundred connections at once: each receives all of its messages and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.stack import Client, Predicate, Stack, eventually

GROUPS = 3
USERS = 42
"""In a group, each with a connection on every endpoint."""
EVENTS = 20
OPENING = 16
"""Handshakes in progress: twice as many as the gateway's concurrent invocations, so that it never waits for us."""
WITHIN = 60.0


@dataclass
class Group:
    """Users who receive the same messages, which the other groups do not receive."""

    listener: int
    users: list[int]
    clients: dict[str, list[Client]] = field(default_factory=dict)

    def heard(self, endpoint: str) -> list[list[dict[str, Any]]]:
        """The data of all that each client on an endpoint has heard."""
        return [[message["data"] for message in client.heard] for client in self.clients[endpoint]]


@asynccontextmanager
async def connected(stack: Stack, groups: list[Group]) -> AsyncIterator[None]:
    """Open all connections; those for presence watch the listener of their group."""
    turn = asyncio.Semaphore(OPENING)
    async with AsyncExitStack() as contexts:

        async def open_one(group: Group, endpoint: str, user: int) -> None:
            watch = {"watch": str(group.listener)} if endpoint in {"feed", "presence"} else None
            async with turn:
                opened = stack.connect(endpoint, user, query=watch, settled=False)  # it is registered when it is open
                client = await contexts.enter_async_context(opened)
            group.clients.setdefault(endpoint, []).append(client)

        endpoints = ("feed", "presence", "calls", "notifications")
        wanted = [(group, endpoint, user) for group in groups for user in group.users for endpoint in endpoints]
        await asyncio.gather(*(open_one(*each) for each in wanted))
        yield


def tells(key: str, value: object) -> Predicate:
    """Whether a message has a value under a key of its data."""
    return lambda message: bool(message["data"][key] == value)


async def all_hear(groups: list[Group], endpoint: str, wanted: Predicate) -> None:
    clients = [client for group in groups for client in group.clients[endpoint]]
    await asyncio.gather(*(client.hears(wanted, within=WITHIN) for client in clients))


@pytest.mark.timeout(300)
async def test_each_of_five_hundred_connections_hears_its_twenty_events_and_no_others(stack: Stack) -> None:
    groups = [Group(stack.new_user(), [stack.new_user() for _ in range(USERS)]) for _ in range(GROUPS)]
    states = [number % 2 == 0 for number in range(EVENTS)]
    assert GROUPS * USERS * 4 >= 500
    async with AsyncExitStack() as contexts:
        for group in groups:
            await contexts.enter_async_context(stack.connect("calls", group.listener, role="listener"))
        await contexts.enter_async_context(connected(stack, groups))
        for number, busy in enumerate(states):
            for group in groups:
                event = {"call_id": number, "user_id": group.listener, "listener_id": group.listener}
                stack.publish("call_billing", event, to=group.users)
                stack.publish("system_notification", event, to=group.users)
                stack.publish("status_change", {"user_id": group.listener, "is_busy": busy})
            # The bus does not keep the order, so wait before the next change of a state.
            await all_hear(groups, "presence", tells("is_busy", busy))
            await all_hear(groups, "feed", tells("is_busy", busy))
        for number in range(EVENTS):
            await all_hear(groups, "calls", tells("call_id", number))
            await all_hear(groups, "notifications", tells("call_id", number))
        for group in groups:
            for endpoint in group.clients:
                for heard in group.heard(endpoint):
                    assert {message["user_id"] for message in heard} == {group.listener}
                    if endpoint in {"feed", "presence"}:
                        assert [message["is_busy"] for message in heard] == states
                    else:
                        assert sorted(message["call_id"] for message in heard) == list(range(EVENTS))
    users = [user for group in groups for user in (group.listener, *group.users)]
    await eventually(lambda: not any(map(stack.is_connected, users)), "all connections are forgotten", WITHIN)
    await stack.quiet()
