"""API Gateway as this service sees it: sockets, and the management API that knows which of them are open."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from botocore.exceptions import ClientError, ReadTimeoutError

from harness.account import Account
from realtime.messages import rfc3339
from tests.model.client import Client

SESSION_SECONDS = 2 * 3600
FRAME_BYTES = 32 * 1024
_is_well_formed = re.compile(r"c\d{3,}=").fullmatch  # the ids that this gateway makes


@dataclass(eq=False)
class Socket:
    """One WebSocket connection and its user; `connected_at` and `closed_at` are in s."""

    connection_id: str
    endpoint: str
    user_id: str
    connected_at: float
    client: Client
    state: Literal["connecting", "open", "closed"] = "connecting"
    is_registered: bool = False  # once the service has stored it
    closed_at: float | None = None
    posts_meet: int | None = None  # while its client reads nothing: 429, or 0 for no answer
    dismissed_at: float | None = None  # when the service decided to close it; the close may take a while
    active_at: float = 0.0  # the last frame either way
    issued_at: int = 0  # its token

    @property
    def ended_at(self) -> float | None:
        """When it ended for the service."""
        return self.closed_at if self.dismissed_at is None else self.dismissed_at

    @property
    def counts(self) -> bool:
        """Whether it makes its user present: refused clients are open for a moment, too."""
        return self.state == "open" and self.is_registered


class Gateway:
    """All sockets; `on_close` is called for sockets that the service closes, or that close because of a post."""

    def __init__(self, account: Account, on_close: Callable[[Socket], None], clock: Callable[[], float]) -> None:
        self.sockets: dict[str, Socket] = {}
        self._clock = clock
        self.account = account
        self._on_close = on_close

    def request(self, method: str, connection_id: str, body: bytes) -> int:
        """Answer the management API's three methods with a status."""
        if not self.account.take():
            return 429
        if not _is_well_formed(connection_id):
            return 400
        socket = self.sockets.get(connection_id)
        if socket is None or socket.state != "open":
            return 410  # until $connect has answered, a connection does not exist
        if method == "POST" and socket.posts_meet is not None:
            return socket.posts_meet
        if method == "POST" and len(body) > FRAME_BYTES:
            self._on_close(socket)
        elif method == "POST":
            socket.client.hear(body.decode())
            socket.active_at = self._clock()
        elif method == "DELETE":
            self._on_close(socket)
            return 204
        return 200

    def description(self, connection_id: str) -> str:
        """Return the body of GetConnection's answer."""
        return json.dumps({"lastActiveAt": rfc3339(int(self.sockets[connection_id].active_at * 1000))})


class GatewayPool:
    """A pool for the real Poster that calls a Gateway at once, without a network; waiting only moves the clock."""

    def __init__(
        self,
        gateway: Gateway,
        call: Callable[[str, Callable[[], int]], int],
        advance: Callable[[float], None],
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._advance = advance
        self._answers: list[tuple[Any, int, str]] = []

    @property
    def in_flight(self) -> int:
        return len(self._answers)

    def send(self, task: Any, method: str, path: str, headers: list[str], body: bytes) -> None:
        connection_id = unquote(path.rpartition("/")[2])
        try:
            status = self._call(method, lambda: self._gateway.request(method, connection_id, body))
        except ClientError:
            status = 500
        except ReadTimeoutError:
            status = 0
        text = self._gateway.description(connection_id) if (method, status) == ("GET", 200) else ""
        self._answers.append((task, status, text))

    def receive(self) -> list[tuple[Any, int, str]]:
        answers, self._answers = self._answers, []
        return answers

    def wait(self, seconds: float) -> None:
        self._advance(seconds)

    def abandon(self, which: Callable[[Any], bool] | None = None) -> list[Any]:
        abandoned = [each for each in self._answers if which is None or which(each[0])]
        self._answers = [each for each in self._answers if each not in abandoned]
        return [task for task, _, _ in abandoned]

    def close(self) -> None:
        """Hold nothing open."""
