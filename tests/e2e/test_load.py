"""Two hundred and fifty connections at once: each receives all of its messages and nothing else."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from harness.stack import Client, Message, Predicate, Stack, eventually
from tests.e2e.resuming import Resuming

GROUPS = 3
USERS = 21
"""In a group, each with a connection on every endpoint."""
EVENTS = 10
OPENING = 16
"""Handshakes in progress: twice as many as the gateway's concurrent invocations, so that it never waits for us."""
WITHIN = 60.0


@dataclass
class Member:
    """A client that comes back and resumes if the service closes its connection.

    How many are closed depends on the machine, which the service shares with its clients here: a post that takes
    longer than others makes a straggler (docs/decisions/0033-a-lane-that-nobody-can-hold-up.md). `bench stragglers`
    prints how many healthy deliveries leave their lane, on a clock of its own.
    """

    connect: Callable[[], AbstractAsyncContextManager[Client]]
    contexts: AsyncExitStack
    memory: Resuming = field(default_factory=Resuming)
    returns: int = -1
    awaited: set[str] = field(default_factory=set)  # ids of the events that it has waited for

    async def come(self) -> None:
        """Connect, and resume unless it is the first time."""
        self.client = await self.contexts.enter_async_context(self.connect())
        await self.memory.begin(self.client)
        self.returns += 1

    async def hears(self, wanted: Predicate) -> None:
        """Wait for an event that it has not waited for yet: one that comes twice counts once."""
        while True:
            try:
                event = await self.client.hears(lambda each: self._is_new(each) and wanted(each), WITHIN)
                self.awaited.add(event["id"])
                return
            except AssertionError:
                if not self.client.socket.closed:
                    raise
            self.memory.end(self.client)
            unread = [each for each in self.client.unread if "id" in each]
            await self.come()
            self.client.unread[:0] = unread

    async def ends_with(self, wanted: Predicate) -> None:
        """Wait until the newest of all events that it has heard is as wanted."""
        while not wanted(self._newest()):
            await self.hears(lambda _: True)

    def _newest(self) -> Message:
        now: dict[str, Message] = {message["id"]: message for message in self.client.heard if "id" in message}
        events = self.memory.heard | now
        return events[max(events)]

    def _is_new(self, message: Message) -> bool:
        return "id" in message and message["id"] not in self.awaited


@dataclass
class Group:
    """Users who receive the same messages, which the other groups do not receive."""

    listener: int
    users: list[int]
    members: dict[str, list[Member]] = field(default_factory=lambda: defaultdict(list))

    def everyone(self) -> Iterator[tuple[str, Member]]:
        """Yield each member, after its endpoint."""
        for endpoint, members in self.members.items():
            for member in members:
                yield endpoint, member


@asynccontextmanager
async def connected(stack: Stack, groups: list[Group]) -> AsyncIterator[None]:
    """Open all connections; those for presence watch the listener of their group."""
    turn = asyncio.Semaphore(OPENING)
    async with AsyncExitStack() as contexts:

        async def open_one(group: Group, endpoint: str, user: int) -> None:
            watch = {"watch": str(group.listener)} if endpoint in {"feed", "presence"} else None
            member = Member(partial(stack.connect, endpoint, user, query=watch, settled=False), contexts)
            async with turn:
                await member.come()
            group.members[endpoint].append(member)

        endpoints = ("feed", "presence", "calls", "notifications")
        wanted = [(group, endpoint, user) for group in groups for user in group.users for endpoint in endpoints]
        await asyncio.gather(*(open_one(*each) for each in wanted))
        yield


def tells(key: str, value: object) -> Predicate:
    """Whether an event has a value under a key of its data."""
    return lambda event: bool(event["data"].get(key) == value)


async def all_hear(groups: list[Group], endpoint: str, wanted: Predicate) -> None:
    await asyncio.gather(*(member.hears(wanted) for group in groups for member in group.members[endpoint]))


@pytest.mark.timeout(300)
async def test_each_of_two_hundred_and_fifty_connections_hears_its_ten_events_and_no_others(stack: Stack) -> None:
    groups = [Group(stack.new_user(), [stack.new_user() for _ in range(USERS)]) for _ in range(GROUPS)]
    states = [number % 2 == 0 for number in range(EVENTS)]
    assert GROUPS * USERS * 4 >= 250
    async with AsyncExitStack() as contexts:
        for group in groups:
            await contexts.enter_async_context(stack.connect("calls", group.listener, role="listener"))
        await stack.quiet()  # or who watches early may still hear of the coming online
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
        members = [
            (group, endpoint, each)
            for group in groups
            for endpoint in group.members
            for each in group.members[endpoint]
        ]
        for group, endpoint, member in members:
            if member.returns and endpoint in {"feed", "presence"}:  # it got the last state of those that it missed
                await member.ends_with(tells("is_busy", states[-1]))
            member.memory.end(member.client)
            heard = [message["data"] for _, message in sorted(member.memory.heard.items())]
            assert {message["user_id"] for message in heard} == {group.listener}
            if endpoint not in {"feed", "presence"}:
                assert sorted(message["call_id"] for message in heard) == list(range(EVENTS))
            elif not member.returns:
                assert [message["is_busy"] for message in heard] == states
    users = [user for group in groups for user in (group.listener, *group.users)]
    await eventually(lambda: not any(map(stack.is_connected, users)), "all connections are forgotten", WITHIN)
    await stack.quiet()
