"""The simulation of tools/scale beside the embedded stack, at its size: two hundred connections.

A busy machine makes single rounds slower, so each figure is the median of three rounds, few and many in turns.

The emulator has no quotas of AWS's, but a pace of its own. It is measured with a few connections: how many handshakes a
second it serves, how many posts a second, and how long an event takes that goes to one client. With these as quotas the
simulator says how long four times as many take, and that is measured too.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from harness.embedded_stack import embedded_stack
from harness.stack import Client, Stack
from tools import results
from tools.scale import fanout, storms
from tools.scale.design import Design, measured
from tools.scale.quotas import with_defaults

FEW, MANY = 50, 200
AT_ONCE = 16
"""Handshakes in progress: the gateway has fewer invocations at a time, so it never waits for us."""
ROUNDS = 3
WITHIN = 60.0


async def connect(stack: Stack, contexts: AsyncExitStack, number: int) -> tuple[float, list[Client]]:
    """Connect so many users to `notifications`; returns how long it took until all were registered."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(user: int) -> Client:
        async with turn:
            opened = stack.connect("notifications", user, settled=False)  # it is registered when it is open
            return await contexts.enter_async_context(opened)

    users = [stack.new_user() for _ in range(number)]
    begun = time.monotonic()
    clients = await asyncio.gather(*(one(user) for user in users))
    return time.monotonic() - begun, list(clients)


async def tell(stack: Stack, clients: list[Client], name: int) -> float:
    """Send everybody an event; returns how long it took until the last of these clients had it."""
    begun = time.monotonic()
    await asyncio.to_thread(stack.publish, "system_notification", {"title": str(name), "message": "x"}, to="everyone")
    await asyncio.gather(
        *(client.hears(lambda message: message["data"].get("title") == str(name), WITHIN) for client in clients)
    )
    return time.monotonic() - begun


async def paces(stack: Stack, number: int) -> dict[str, float]:
    """Measure with a number of connections: connecting, an event to one and to all, connecting again."""
    async with AsyncExitStack() as contexts:
        alone = (await connect(stack, contexts, 1))[1]
        await tell(stack, alone, 0)  # the functions are warm from here on
        one = min([await tell(stack, alone, 1 + turn) for turn in range(ROUNDS)])
        connecting, clients = await connect(stack, contexts, number)
        every = min([await tell(stack, clients, 100 + turn) for turn in range(ROUNDS)])
    async with AsyncExitStack() as contexts:
        again, _ = await connect(stack, contexts, number)
    return {"connect": connecting, "reconnect": again, "broadcast": every, "one": one}


def simulated(few: dict[str, float], number: int) -> dict[str, float]:
    """Return what the simulator says of more connections, with the paces that fewer had as quotas."""
    posts = FEW / max(1e-3, few["broadcast"] - few["one"])
    design: Design = replace(
        measured(),
        watched=0,
        connect_share=1.0,
        message_share=0.0,
        live_share=1.0,
        wide_share=1.0,
        poll_s=few["one"],
        posts_a_core=posts,
        post_ms=0.01,
    )
    at_once = storms.BackOff(lambda _: 0.0)  # the clients of this test wait in line, and are never refused
    found = {}
    for name in ("connect", "reconnect"):
        quotas = with_defaults(connects=FEW / few[name], requests=1e6)
        quotas["connects"] = replace(quotas["connects"], burst=0)  # the emulator saves nothing up
        found[name] = storms.simulate(number, design, quotas, back_off=at_once).all_s
    everybody = fanout.broadcast(number, replace(design, connect_share=0.0), with_defaults(requests=1e6))
    return found | {"broadcast": everybody.seconds}


async def check(stack: Stack) -> dict[str, float]:
    """Measure with few and with many connections; returns the figures of both."""
    await paces(stack, FEW)  # starts as many instances of each function as the emulator has
    rounds = [(await paces(stack, FEW), await paces(stack, MANY)) for _ in range(ROUNDS)]  # in turns
    few, many = (
        {name: statistics.median(each[which][name] for each in rounds) for name in rounds[0][0]} for which in (0, 1)
    )
    figures = {"connections": float(MANY)}
    for name, seconds in simulated(few, MANY).items():
        figures[f"{name}_s"], figures[f"{name}_simulated_s"] = many[name], seconds
        figures[name] = seconds / many[name]
    return figures


def main() -> None:
    """Measure, print and store the figures."""
    folders = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # a function may still write as the stack ends
    with folders as folder, embedded_stack(Path(folder), {}) as (state, running):
        figures = asyncio.run(check(Stack(state, running, {})))
    print(f"{'with ' + str(MANY) + ' connections':<24}{'simulated s':>14}{'measured s':>14}{'ratio':>8}")
    for name in ("connect", "reconnect", "broadcast"):
        simulated_s, measured_s = figures[f"{name}_simulated_s"], figures[f"{name}_s"]
        print(f"{name:<24}{simulated_s:>14.2f}{measured_s:>14.2f}{figures[name]:>8.2f}")
    results.save("scale_check", figures)


if __name__ == "__main__":
    main()
