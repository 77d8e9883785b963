"""Soak: 500 clients for 20 minutes on the embedded stack, with churn, calls, notifications and faults.

The clients are ours, with their default settings; one in five is a listener, and each watches some listeners. All the
time clients leave and come back with their positions, sockets are cut without a word, `$disconnect` is withheld, and
processes of functions are killed. It fails unless each client hears each of its notifications once, presence and calls
are right at the end, and neither the gateway nor a function has grown.

SOAK_CLIENTS, SOAK_MINUTES and SOAK_SEED change it.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.embedded_stack import embedded_stack
from harness.stack import Stack, eventually
from listener_realtime import Presence, Publisher, Realtime, StateChange, connect, events
from tools import results

CLIENTS = int(os.environ.get("SOAK_CLIENTS", "500"))
SECONDS = float(os.environ.get("SOAK_MINUTES", "20")) * 60
SEED = int(os.environ.get("SOAK_SEED", "1"))
LISTENERS = max(1, CLIENTS // 5)
WATCHED = min(5, LISTENERS)
OPENING = 8  # handshakes in progress
AWAY_SECONDS = 1.0, 40.0  # the history is kept much longer
CHURN_SECONDS, CALL_SECONDS, NOTE_SECONDS, CUT_SECONDS, KILL_SECONDS, WITHHELD_SECONDS = 1.0, 3.0, 0.5, 5.0, 60.0, 90.0
CALL_LASTS_SECONDS = 20.0
SETTLED_WITHIN = 300.0
KILLED = ("Ingest", "Broadcast", "BroadcastWide", "Announce", "Default", "Deadlines", "Connect", "Disconnect")
PARAMETERS = {"GracePeriodSeconds": "5"}
MOST_GROWTH = 1.2  # from a third of the time on, when caches are full


@dataclass
class Person:
    """One user: their client while it is there, and what it has heard over all its connections."""

    user: int
    watched: list[int]
    is_listener: bool
    client: Realtime | None = None
    presence: Presence | None = None
    positions: dict[str, dict[str, str]] = field(default_factory=dict)
    sent: int = 0
    heard: Counter[int] = field(default_factory=Counter)
    in_order: list[int] = field(default_factory=list)


class Soak:
    """The run: its users, and what is done to them."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        listeners = [stack.new_user() for _ in range(LISTENERS)]
        self.people = [Person(each, self._random.sample(listeners, WATCHED), is_listener=True) for each in listeners]
        self.people += [
            Person(stack.new_user(), self._random.sample(listeners, WATCHED), is_listener=False)
            for _ in range(CLIENTS - LISTENERS)
        ]
        self._bus = Publisher.of_boto3(bus=stack.outputs["BusName"], source="marketplace", client=stack.aws("events"))
        self._turn = asyncio.Semaphore(OPENING)
        self._in_call: set[int] = set()
        self._moving: set[int] = set()
        self.done: Counter[str] = Counter()

    async def arrive(self, person: Person) -> None:
        """Start a user's client where the last one ended, and wait until it is open."""
        claims: dict[str, Any] = {"role": "listener" if person.is_listener else "user", "username": str(person.user)}
        async with self._turn:
            client = connect(
                self._stack.running.websocket_url,
                token=lambda _anew: self._stack.token(person.user, **claims),
                watch=person.watched,
                longest_pause=5.0,
                positions=person.positions,
            )
            client.on("message", lambda message: self._hear(person, message))
            client.on("state", self._turn_to)
            person.client, person.presence = client, Presence(client)
            client.open()
            # Who leaves before the first answer has no position, and cannot ask for what comes meanwhile.
            await eventually(lambda: any(client.positions.values()), f"{person.user} is online", SETTLED_WITHIN)

    async def leave(self, person: Person) -> None:
        """End a user's client, and keep how far it came."""
        client, person.client = person.client, None
        if client is not None:
            person.positions = client.positions
            client.close()
            await client.wait_closed()

    def _hear(self, person: Person, message: Any) -> None:
        code = f" {message['data']['code']}" if message["type"] == "error" else ""
        self.done[f"heard {message['type']}{code}"] += 1
        if message["type"] == "system_notification":
            person.heard[message["data"]["number"]] += 1
            person.in_order.append(message["data"]["number"])

    def _turn_to(self, change: StateChange) -> None:
        why = f": {change.why}" if change.state == "waiting" else ""
        self.done[f"became {change.state}{why}"] += 1

    async def churn(self) -> None:
        """Let one user leave, and come back later."""
        person = self._random.choice(self.people)
        if person.user in self._moving or person.client is None:
            return
        self._moving.add(person.user)
        try:
            await self.leave(person)
            await asyncio.sleep(self._random.uniform(*AWAY_SECONDS))
            await self.arrive(person)
            self.done["left and came back"] += 1
        finally:
            self._moving.discard(person.user)

    async def call(self) -> None:
        """Let two users who are not in a call have one."""
        free = [each for each in self.people if each.user not in self._in_call]
        listeners = [each.user for each in free if each.is_listener]
        users = [each.user for each in free if not each.is_listener]
        if not listeners or not users:
            return
        listener, user = self._random.choice(listeners), self._random.choice(users)
        both = {listener, user}
        self._in_call |= both
        call_id = self._stack.new_user()
        started = events.call_started(
            call_id=call_id, user_id=user, listener_id=listener, call_type="audio", status="ongoing"
        )
        await asyncio.to_thread(self._bus.put, started)
        await asyncio.sleep(self._random.uniform(1, CALL_LASTS_SECONDS))
        ended = events.call_ended(call_id=call_id, user_id=user, listener_id=listener)
        await asyncio.to_thread(self._bus.put, ended)
        self._in_call -= both
        self.done["calls"] += 1

    async def notify(self) -> None:
        """Send the next numbered notification to one user, wherever they are."""
        person = self._random.choice(self.people)
        number, person.sent = person.sent, person.sent + 1
        note = events.system_notification({"number": number}, to=[person.user])
        await asyncio.to_thread(self._bus.put, note)
        self.done["notifications"] += 1

    async def cut(self) -> None:
        """Drop the socket of one user without a close frame."""
        found = await asyncio.to_thread(self._stack.connection_ids, self._random.choice(self.people).user)
        for connection_id in found:
            try:
                await self._stack.kill(connection_id)
                self.done["sockets cut"] += 1
            except AssertionError:  # it has ended meanwhile
                self.done["sockets that had ended"] += 1

    async def kill(self) -> None:
        """Kill the processes of one function."""
        await asyncio.to_thread(self._stack.restart_function, self._random.choice(KILLED))
        self.done["functions killed"] += 1

    async def withhold(self) -> None:
        """Withhold `$disconnect` for a while."""
        async with self._stack.withheld_disconnects():
            await asyncio.sleep(10)
        self.done["times without $disconnect"] += 1

    async def run(self, seconds: float, sample: Callable[[], None]) -> None:
        """Do all of it for a time; `sample` is called when a third of it is over, and at the end."""
        async with asyncio.TaskGroup() as arriving:
            for person in self.people:
                arriving.create_task(self.arrive(person))
        _say("all are there")
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:

            async def each(pause: float, action: Callable[[], Awaitable[None]]) -> None:
                while time.monotonic() + (drawn := self._random.expovariate(1 / pause)) < until:
                    await asyncio.sleep(drawn)
                    group.create_task(_as_coroutine(action))

            for pause, action in (
                (CHURN_SECONDS, self.churn),
                (CALL_SECONDS, self.call),
                (NOTE_SECONDS, self.notify),
                (CUT_SECONDS, self.cut),
                (KILL_SECONDS, self.kill),
                (WITHHELD_SECONDS, self.withhold),
            ):
                group.create_task(each(pause, action))
            await asyncio.sleep(seconds / 3)
            sample()
            _say("a third of the time is over")
        sample()
        _say("all that was begun has ended")

    async def settle(self) -> None:
        """Let half of all leave for good; wait until everybody has heard all, and presence is right."""
        gone = set(self._random.sample(range(len(self.people)), len(self.people) // 2))
        heard = [each for each in self.people if each.client is not None]
        await eventually(lambda: not _lacking(heard), "each notification is heard", SETTLED_WITHIN)
        _say("each notification is heard")
        for number in gone:
            await self.leave(self.people[number])
        online = {each.user: each.client is not None for each in self.people}

        def wrong() -> list[str]:
            found = []
            for each in self.people:
                for watched, state in ({} if each.presence is None else dict(each.presence.get())).items():
                    user = int(watched)
                    if each.client and (state["is_online"], state["is_busy"]) != (online[user], False):
                        found.append(f"{each.user} sees {user} as {state}")
            return found

        try:
            await eventually(lambda: not wrong(), "presence is right", SETTLED_WITHIN)
        except AssertionError as error:
            raise AssertionError("\n".join(wrong()[:10])) from error
        await eventually(lambda: not self._wrong_in_the_table(online), "the table is right", SETTLED_WITHIN)
        doubled = {each.user: each.heard for each in self.people if any(count > 1 for count in each.heard.values())}
        assert not doubled, f"heard twice: {doubled}"
        for person in self.people:
            await self.leave(person)

    def _wrong_in_the_table(self, online: Mapping[int, bool]) -> list[int]:
        """Return the users about whom the table is wrong. Some of them nobody watches."""
        return [
            user for user, is_online in online.items() if self._stack.user(user)["is_online"]["BOOL"] is not is_online
        ]


def _lacking(people: list[Person]) -> list[int]:
    return [each.user for each in people if len(each.heard) < each.sent]


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


async def _as_coroutine(action: Callable[[], Awaitable[None]]) -> None:
    await action()


def megabytes_of(pid: int) -> dict[str, float]:
    """Return the memory of the largest process of each kind below a process, in MB."""
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True)
    children: defaultdict[int, list[int]] = defaultdict(list)
    of_pid: dict[int, tuple[float, str]] = {}
    for line in listed.stdout.splitlines():
        own, parent, kilobytes, command = line.split(maxsplit=3)
        children[int(parent)].append(int(own))
        of_pid[int(own)] = int(kilobytes) / 1024, command
    found: dict[str, float] = {}
    left = [pid]
    while left:
        current = left.pop()
        left += children[current]
        megabytes, command = of_pid.get(current, (0.0, ""))
        kind = _kind(command)
        found[kind] = max(megabytes, found.get(kind, 0.0))
    return found


def _kind(command: str) -> str:
    """Name a process of the stack by its command line."""
    for mark, kind in (("ministack-lambda-", "function"), ("samsocket serve", "gateway"), ("emulat", "emulator")):
        if mark in command:
            return kind
    return "other"


def main() -> None:
    """Run it, and say what was done."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        embedded_stack(Path(folder), PARAMETERS) as (state, running),
    ):
        samples: list[dict[str, float]] = []
        soak = asyncio.run(_run(Stack(state, running, PARAMETERS), lambda: samples.append(megabytes_of(running.pid))))
        early, late = samples
        growth = {kind: late[kind] / early[kind] for kind in ("gateway", "function") if kind in early and kind in late}
        for kind in sorted(late):
            print(f"{kind}: {early.get(kind, 0):.0f} MB after a third, {late[kind]:.0f} MB at the end")
        print(
            f"{CLIENTS} clients, {SECONDS / 60:.0f} minutes, seed {SEED}: nothing lost, nothing twice, presence right"
        )
        print(", ".join(f"{name}: {count}" for name, count in sorted(soak.done.items())))
        results.save(
            "soak", {"clients": CLIENTS, "minutes": SECONDS / 60, **{f"{k}_growth": v for k, v in growth.items()}}
        )
        assert all(each <= MOST_GROWTH for each in growth.values()), growth


async def _run(stack: Stack, sample: Callable[[], None]) -> Soak:
    soak = Soak(stack, SEED)
    await soak.run(SECONDS, sample)
    await soak.settle()
    return soak


if __name__ == "__main__":
    main()
