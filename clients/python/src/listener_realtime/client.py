"""The client: endpoints, listeners, and the lines that connect them.

    async with connect("wss://api.example.com/ws", fetch_token) as realtime:  # async def fetch_token(anew)
        async for message in realtime:
            print(message["type"], message["data"])

Each event is reported once, also over reconnects.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, overload
from urllib.parse import quote

from listener_realtime import messages as of
from listener_realtime.line import Duties, Line, State
from listener_realtime.link import Frame
from listener_realtime.messages import Endpoint, Id, Message
from listener_realtime.tokens import TokenProvider
from listener_realtime.world import AsyncioWorld, World

ENDPOINTS: tuple[Endpoint, ...] = ("feed", "presence", "calls", "notifications")
_OF_PRESENCE = frozenset({"live", "feed", "presence"})
_WORST_FIRST: tuple[State, ...] = ("refused", "waiting", "connecting", "off", "open")

End: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class StateChange:
    """The state of a socket, and why; `endpoint` is "live" for the one socket of all."""

    endpoint: str
    state: State
    why: str


class Realtime:
    """One user's connection to the service. Its methods are called in the event loop's thread."""

    def __init__(
        self,
        url: str,
        token: TokenProvider,
        *,
        endpoints: Sequence[Endpoint] | None = None,
        one_socket: bool = True,
        watch: Iterable[Id] = (),
        types: Sequence[str] = (),
        longest_pause: float = 60.0,
        silence: float = 240.0,
        positions: Mapping[str, Mapping[str, str]] | None = None,
        world: World | None = None,
    ) -> None:
        """Take the stack's `WebSocketUrl`, and who gives tokens. Nothing happens before `open`.

        `endpoints` are all that the token allows, unless you name some. `one_socket` uses one socket for all endpoints,
        rather than one for each. `watch` hears of the presence of these users alone, `types` these messages alone.
        `longest_pause` (seconds) is between attempts; after `silence` (seconds) without a frame it pings. With
        `positions` of an earlier client it goes on where that one ended. `world` replaces sockets, timers and clock in
        tests.
        """
        self._lines: dict[str, Line] = {}
        self._listeners: dict[str, list[Callable[[Any, str], None]]] = {}
        self._iterations: set[End] = set()
        watched = list(watch)
        named: Sequence[Endpoint] = ENDPOINTS if endpoints is None else endpoints
        for stage in ("live",) if one_socket else named:
            heard: Sequence[str] = named if one_socket else (stage,)
            has_presence = not _OF_PRESENCE.isdisjoint(heard)
            query = ["batch=true"]
            query += [f"endpoints={','.join(named)}"] if one_socket and endpoints is not None else []
            query += [f"types={','.join(quote(each, safe='') for each in types)}"] if types else []
            line = Line(
                Duties(
                    address=_addresses(f"{url.rstrip('/')}/{stage}", query, has_presence=has_presence),
                    token=token,
                    has_presence=has_presence,
                    longest_pause_ms=longest_pause * 1000,
                    silence_ms=silence * 1000,
                    position=(positions or {}).get(stage, {}),
                    heard=self._teller("message", stage),
                    changed=self._state_teller(stage),
                    syncing=self._syncing_teller(stage),
                    sent=self._teller("sent", stage),
                ),
                world or AsyncioWorld(),
            )
            self._lines[stage] = line
            if has_presence:
                line.watch(watched)

    @property
    def state(self) -> State:
        """ "open" if every socket is; otherwise the state of the one that is worst off."""
        states = {line.state for line in self._lines.values()}
        return next((state for state in _WORST_FIRST if state in states), "off")

    @property
    def positions(self) -> dict[str, dict[str, str]]:
        """How far each socket is: what `positions` of a later client takes, as JSON."""
        return {stage: line.position for stage, line in self._lines.items()}

    def open(self) -> Self:
        """Connect, and stay connected until `close`. It needs a running event loop."""
        for line in self._lines.values():
            line.start()
        return self

    def close(self) -> None:
        """Close all: iterations end, and no timer is left. `wait_closed` waits for the sockets."""
        for line in self._lines.values():
            line.stop()
        for end in tuple(self._iterations):
            end()

    async def wait_closed(self) -> None:
        """Wait after `close` until no socket and no task is left."""
        for line in self._lines.values():
            await line.wait_stopped()

    async def __aenter__(self) -> Self:
        return self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    # fmt: off
    @overload
    def on(self, kind: Literal["listener_online", "listener_offline", "listener_busy", "listener_available"],
           listener: Callable[
               [of.ListenerOnline | of.ListenerOffline | of.ListenerBusy | of.ListenerAvailable], object
           ]) -> End: ...
    @overload
    def on(self, kind: Literal["presence_update", "status_change"],
           listener: Callable[[of.PresenceUpdate | of.StatusChanged], object]) -> End: ...
    @overload
    def on(self, kind: Literal["call_started", "call_ended", "call_billing"],
           listener: Callable[[of.CallStarted | of.CallEnded | of.CallBilling], object]) -> End: ...
    @overload
    def on(self, kind: Literal["favorite_added", "favorite_removed", "user_blocked", "user_unblocked"],
           listener: Callable[
               [of.FavoriteAdded | of.FavoriteRemoved | of.UserBlocked | of.UserUnblocked], object
           ]) -> End: ...
    @overload
    def on(self, kind: Literal["system_notification"],
           listener: Callable[[of.SystemNotified], object]) -> End: ...
    @overload
    def on(self, kind: Literal["status_set"], listener: Callable[[of.StatusSet], object]) -> End: ...
    @overload
    def on(self, kind: Literal["occupancy"], listener: Callable[[of.Occupancy], object]) -> End: ...
    @overload
    def on(self, kind: Literal["history_page"], listener: Callable[[of.HistoryPage], object]) -> End: ...
    @overload
    def on(self, kind: Literal["error"], listener: Callable[[of.Error], object]) -> End: ...
    @overload
    def on(self, kind: Literal["message"], listener: Callable[[Message], object]) -> End: ...
    @overload
    def on(self, kind: Literal["state"], listener: Callable[[StateChange], object]) -> End: ...
    @overload
    def on(self, kind: Literal["sent"], listener: Callable[[Frame], object]) -> End: ...
    @overload
    def on(self, kind: str, listener: Callable[[Any], object]) -> End: ...
    # fmt: on
    def on(self, kind: str, listener: Callable[[Any], object]) -> End:
        """Call `listener` for each message of a type or of all ("message"), or each change of "state".

        Returns what ends it. An exception of a listener is reported to the event loop's exception handler.
        """
        return self.hear(kind, lambda value, _stage: listener(value))

    def hear(self, kind: str, listener: Callable[[Any, str], object]) -> End:
        """Do as `on` does, and tell the listener the endpoint too, which is "live" for one socket of all."""

        def call(value: Any, stage: str) -> None:
            listener(value, stage)

        listeners = self._listeners.setdefault(kind, [])
        listeners.append(call)

        def end() -> None:
            if call in listeners:
                listeners.remove(call)

        return end

    async def __aiter__(self) -> AsyncGenerator[Message, None]:
        """Messages from the first step on, until `close`."""
        waiting: deque[Message] = deque()
        news = asyncio.Event()
        is_over = False

        def take(message: Message) -> None:
            waiting.append(message)
            news.set()

        def end() -> None:
            nonlocal is_over
            is_over = True
            news.set()

        off = self.on("message", take)
        self._iterations.add(end)
        try:
            while True:
                while waiting:
                    yield waiting.popleft()
                if is_over:
                    return
                news.clear()
                await news.wait()
        finally:
            off()
            self._iterations.discard(end)

    def send(self, kind: str, data: Mapping[str, Any] | None = None, endpoint: str | None = None) -> bool:
        """Send a frame on the socket of an endpoint, or on the first that is open; false if none is."""
        lines = ((stage, line) for stage, line in self._lines.items() if endpoint in {None, stage} or stage == "live")
        return any(line.send(kind, data or {}) for _, line in lines)

    def watch(self, ids: Iterable[Id]) -> None:
        """Hear of these users' presence alone, on this and all later connections."""
        users = list(ids)
        for line in self._with_presence():
            line.watch(users)

    def unwatch(self, ids: Iterable[Id]) -> None:
        """Hear of these users no more."""
        users = list(ids)
        for line in self._with_presence():
            line.unwatch(users)

    def sync(self) -> None:
        """Request a snapshot of who is online."""
        for line in self._with_presence():
            line.sync()

    def set_status(self, status: of.Status) -> bool:
        """Set your own status, if the token allows it; false if no connection is open."""
        return self.send("status", {"status": status})

    def _with_presence(self) -> list[Line]:
        return [line for stage, line in self._lines.items() if stage in _OF_PRESENCE]

    def _teller(self, kind: str, stage: str) -> Callable[[Any], None]:
        def tell(value: Any) -> None:
            if kind == "message":
                self._tell(value["type"], value, stage)
            self._tell(kind, value, stage)

        return tell

    def _state_teller(self, stage: str) -> Callable[[State, str], None]:
        return lambda state, why: self._tell("state", StateChange(stage, state, why), stage)

    def _syncing_teller(self, stage: str) -> Callable[[], None]:
        return lambda: self._tell("syncing", None, stage)

    def _tell(self, kind: str, value: Any, stage: str) -> None:
        """A listener that fails must not keep others from hearing."""
        for listener in tuple(self._listeners.get(kind, ())):
            try:
                listener(value, stage)
            except Exception as problem:  # noqa: BLE001  # it is the application's, and may fail in any way
                context = {"message": f"a listener of {kind!r} failed", "exception": problem}
                asyncio.get_running_loop().call_exception_handler(context)


def _addresses(place: str, query: Sequence[str], *, has_presence: bool) -> Callable[[str], str]:
    return lambda watched: f"{place}?{'&'.join([*query, *([f'watch={watched}'] if has_presence and watched else [])])}"


connect = Realtime
"""A client that `async with` opens and closes."""
