"""Receives messages as a client does, for the command `listen`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from listener_realtime import Message, Realtime, StateChange
from operate.errors import CommandError

ANSWERS = frozenset({"pong", "resumed", "authenticated", "acknowledged"})
"""What the client asks for by itself."""


_ADVICE = {
    414: "The URL has more than the 4,096 characters that API Gateway takes: name fewer --types",
    429: "Too many handshakes from this address, or on this endpoint: try again in some seconds",
    500: "The function connect failed: realtime logs connect says why",
}


async def messages(
    client: Realtime, notice: Callable[[str], None], *, has_other_tokens: bool
) -> AsyncGenerator[Message]:
    """Each message that a client hears, except answers that concern the connection alone.

    It connects again after interruptions, of which `notice` is told.

    Raises:
        CommandError: it cannot connect at all, or its token is refused and there is no other.
    """
    failure: str | None = None
    has_been_open = False

    def changed(change: StateChange) -> None:
        nonlocal failure, has_been_open
        if change.state == "open":
            has_been_open = True
        elif change.state == "refused" or (change.why.startswith("AUTH_FAILED") and not has_other_tokens):
            failure = f"The connection was refused. {change.why}"
        elif change.state == "waiting" and not has_been_open:
            failure = f"Cannot connect: {change.why}{_advice(change.why)}"
        elif change.state == "waiting":
            notice(f"The connection was lost ({change.why}); connecting again.")
        if failure is not None:
            client.close()

    client.on("state", changed)
    stream = client.__aiter__()
    async with client:
        async for message in stream:
            if message["type"] not in ANSWERS:
                yield message
    if failure is not None:
        raise CommandError(failure)


def _advice(why: str) -> str:
    """Return what to do about a status with which a handshake was refused, if there is more to say."""
    return next((f". {advice}" for status, advice in _ADVICE.items() if why.endswith(f"status {status}")), "")
