"""Hears an endpoint as a client does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp

from operate.errors import CommandError

PING_SECONDS = 300.0
"""Half of API Gateway's idle timeout."""

CLOSE_MESSAGES = {
    1001: "the connection was idle or too old",
    1009: "a message was too big",
    1012: "the service restarts",
}


async def messages(url: str, query: Mapping[str, str]) -> AsyncGenerator[dict[str, Any]]:
    """Yield each message that one connection hears, without the answers to its own pings.

    Raises:
        CommandError: the connection is refused or ends.
    """
    ping = json.dumps({"type": "ping", "data": {}})
    timeout = aiohttp.ClientWSTimeout(ws_receive=PING_SECONDS)
    try:
        async with aiohttp.ClientSession() as http, http.ws_connect(url, params=query, timeout=timeout) as socket:
            pings = 0
            while True:
                try:
                    frame = await socket.receive()
                except TimeoutError:
                    await socket.send_str(ping)
                    pings += 1
                    continue
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    reason = CLOSE_MESSAGES.get(socket.close_code or 1006, "")
                    raise CommandError(f"The connection was closed ({socket.close_code}). {reason}".rstrip())
                heard = json.loads(frame.data)
                for message in heard if isinstance(heard, list) else [heard]:  # a list where batch=true
                    if message.get("type") == "pong" and pings:
                        pings -= 1
                    else:
                        yield message
    except aiohttp.WSServerHandshakeError as error:
        raise CommandError(f"The handshake was refused with status {error.status}.") from error
    except aiohttp.ClientConnectionError as error:
        raise CommandError(f"Cannot connect: {error}") from error
