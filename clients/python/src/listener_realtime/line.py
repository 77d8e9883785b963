"""One lasting connection: it reconnects, resumes, pings after silence, renews its token and moves before it must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from listener_realtime import received, tokens
from listener_realtime.back_off import BackOff
from listener_realtime.heartbeat import Heartbeat
from listener_realtime.inbox import Inbox
from listener_realtime.link import Frame, Link
from listener_realtime.messages import Id
from listener_realtime.world import Socket, Timers, World

State: TypeAlias = Literal["off", "connecting", "open", "waiting", "refused"]

CONNECT_WITHIN_MS = 20_000  # for a token and a handshake
LIVED_MS = 30_000  # that a connection must last to show that all is well
SYNC_WITHIN_MS = 10_000  # after `stale`, at random
SYNC_APART_MS = 60_000
RESUME_AGAIN_SECONDS = 5  # where the service does not say
RESUME_WITHIN_MS = 30_000  # for the next frame of the answer
WATCH_IN_URL = 1_500  # characters; API Gateway takes URLs of 4,096


@dataclass(frozen=True, slots=True)
class Duties:
    """What a line is to do, and whom it tells. Times are in milliseconds."""

    address: Callable[[str], str]  # the URL, given the users of `watch=`
    token: tokens.TokenProvider
    has_presence: bool  # whether it answers `sync`
    longest_pause_ms: float
    silence_ms: float
    position: Mapping[str, str]  # where an earlier line ended
    heard: Callable[[Any], None]
    changed: Callable[[State, str], None]
    syncing: Callable[[], None]  # a snapshot of everyone was requested
    sent: Callable[[Frame], None]


class _Hearing:
    """What a socket tells its line."""

    def __init__(self, line: Line, link: Link) -> None:
        self._line, self._link = line, link

    def opened(self) -> None:
        self._line.opened(self._link)

    def heard(self, text: str) -> None:
        self._line.received(self._link, text)

    def refused(self, status: int) -> None:
        codes = {401: "AUTH_FAILED", 403: "PERMISSION_DENIED"}
        if status in codes:
            self._line.refused(self._link, {"code": codes[status], "message": f"status {status}"})

    def closed(self, why: str) -> None:
        self._line.lost(self._link, self._link.refusal or why)


class Line:
    """See the module. `state` is what `changed` told last."""

    def __init__(self, of: Duties, world: World) -> None:
        self._of, self._world = of, world
        self._timers = Timers(world)
        self._renewal = tokens.Renewal(world, self._timers, self._renew)
        self._back_off = BackOff(world, of.longest_pause_ms)
        self._heartbeat = Heartbeat(world, self._timers, of.silence_ms, lambda: self.send("ping", {}), self._is_dead)
        self._inbox = Inbox(of.heard, of.position)
        self._link: Link | None = None  # in use
        self._next: Link | None = None  # to come: it connects, or resumes before it replaces the one in use
        self._work: dict[str, asyncio.Task[None]] = {}  # which wait for tokens
        self._closing: set[Socket] = set()
        self._is_anew = False
        self._synced_ms = float("-inf")
        self._is_behind = False  # presence is not known until a snapshot is complete
        self._watched: dict[str, Id] = {}
        self._last: list[str] = []  # whom it unwatched last: if nobody is left, a URL that names nobody means everyone
        self._unlisten: Callable[[], None] = lambda: None
        self.state: State = "off"

    @property
    def position(self) -> dict[str, str]:
        """How far it is."""
        return dict(self._inbox.position)

    def start(self) -> None:
        """Connect, and stay connected."""
        self._unlisten()
        self._unlisten = self._world.listen(self._wake)
        self._timers.is_running = True
        self._attempt()

    def stop(self, state: State = "off", why: str = "") -> None:
        """Close, and do not come back."""
        self._inbox.acknowledge()  # the message that is being heard, also if who hears it closes
        self._unlisten()
        self._unlisten = lambda: None
        self._timers.stop()
        for work in self._work.values():
            work.cancel()
        self._drop(self._link)
        self._drop(self._next)
        self._link = self._next = None
        self._become(state, why)

    async def wait_stopped(self) -> None:
        """Wait until nothing is left."""
        await asyncio.gather(*self._work.values(), return_exceptions=True)
        while self._closing:
            await self._closing.pop().wait_closed()

    def send(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Send a frame; false if there is no connection."""
        return self._link is not None and self._link.say(Frame(kind, data))

    def watch(self, ids: Iterable[Id]) -> None:
        """Watch these users on this and all later connections."""
        added = list(ids)
        self._watched |= {str(each): each for each in added}
        self._ask(Frame("watch", {"user_ids": added}))

    def unwatch(self, ids: Iterable[Id]) -> None:
        """Watch these users no more."""
        removed = list(ids)
        for each in removed:
            if self._watched.pop(str(each), None) is not None:
                self._last = [str(each)]
        self._ask(Frame("unwatch", {"user_ids": removed}))

    def sync(self) -> None:
        """Request a snapshot of everyone."""
        self._timers.cancel("stale")
        self._synced_ms = self._world.now_ms()
        self._is_behind = True
        self._of.syncing()
        if self._link is not None:
            self._link.tell(Frame("sync", {}))

    # ---- connecting ----

    def _attempt(self) -> None:
        self._timers.cancel("retry")
        self._drop(self._next)
        self._next = None
        if self._link is None:
            self._become("connecting")
        if not self._timers.is_running:
            return  # who heard of it has stopped the line
        self._timers.set("connect", CONNECT_WITHIN_MS, self._too_late)
        self._start("connect", self._connect())

    def _too_late(self) -> None:
        if "connect" in self._work:  # a token that comes now is of no use
            self._work["connect"].cancel()
        self.lost(self._next, "no connection in time")

    async def _connect(self) -> None:
        try:
            # A handshake may be refused without a reason: now and then, suspect the token.
            anew = self._is_anew or self._back_off.suspects_token
            token = await tokens.ask(self._of.token, anew=anew)
            if not anew and self._renewal.is_over(token):
                token = await tokens.ask(self._of.token, anew=True)
        except Exception as problem:  # noqa: BLE001  # it is the application's, and may fail in any way
            return self.lost(None, str(problem) or type(problem).__name__)
        named = list(self._watched) or self._last
        ids = ",".join(quote(each, safe="") for each in named)
        if len(ids) > WATCH_IN_URL:
            ids, named = "", []
        self._is_anew = False
        self._next = link = Link(self._world, named, self._of.sent, tokens.expiry_of(token))
        link.socket = self._world.open(self._of.address(ids), token, _Hearing(self, link))
        return None

    def opened(self, link: Link) -> None:
        """Take a socket into use, or have it resume before it replaces the one in use."""
        is_move = self._link is not None
        if not is_move:
            self._use(link)
        if not self._is_current(link):
            return
        if added := [each for key, each in self._watched.items() if key not in link.ids]:
            link.tell(Frame("watch", {"user_ids": added}))
        if removed := sorted(link.ids - self._watched.keys()):  # while it connected
            link.tell(Frame("unwatch", {"user_ids": removed}))
        if self._inbox.position:
            self._resume(link)
        elif self._of.has_presence and not is_move:
            self.sync()
        else:
            link.tell(Frame("ping", {}))  # its answer brings a position, before there is any event

    def _use(self, link: Link) -> None:
        """From now on this is the connection."""
        self._timers.cancel("connect", "retry")
        self._drop(self._link)
        self._link, self._next = link, None
        self._renewal.before(link.expiry_ms)
        self._become("open")
        self._heartbeat.heard()
        self._timers.set("lived", LIVED_MS, self._back_off.forget)

    def lost(self, link: Link | None, why: str) -> None:
        """Leave a socket that ended or is of no use, and try again later."""
        self._drop(link)
        if link is not None and link is self._link:
            self._link = None
            self._timers.cancel("silence", "pong", "lived", "renew")
            if self._next is not None:  # a move is under way, and becomes the connection
                return self._become("connecting", why)
        else:
            self._next = None
            self._timers.cancel("connect")
        pause_ms = self._back_off.after_failure()
        if self._link is None:
            self._become("waiting", why)
        if self._link is not None or self._world.is_online():  # else `online` wakes us
            self._timers.set("retry", pause_ms, self._attempt)
        return None

    def _wake(self, why: str) -> None:
        """The machine comes back: open is no proof of a connection."""
        if self._link is not None:
            self._heartbeat.probe()
        elif self.state == "waiting" and why != "offline":
            self._timers.set("retry", self._back_off.soon(), self._attempt)

    # ---- hearing ----

    def received(self, link: Link, text: str) -> None:
        """Take a frame: a message, or an array of them."""
        messages = received.read(text)
        if messages is None:
            return None  # an empty frame, or not of the service
        if link is self._link:
            self._heartbeat.heard()
        for message in messages:
            if not self._is_current(link):
                return None  # closed by what an earlier message led to
            if not received.is_message(message):  # API Gateway's own refusal
                said = message.get("message") if isinstance(message, dict) else None
                return self.lost(link, str(said or "no message"))
            if link.held is not None and not received.is_live(message):
                self._expect_more(link)
            self._inbox.take(link, message)
            if self._is_current(link):  # unless who heard the message has stopped the line
                self._act(link, message)
        return None

    def _is_current(self, link: Link) -> bool:
        return link is self._link or link is self._next

    def _act(self, link: Link, message: Any) -> None:
        kind, data = message["type"], received.data_of(message)
        if "id" not in message and message.get("timestamp"):
            self._renewal.learn(message["timestamp"])
        match kind:
            case "error":
                return self.refused(link, data)
            case "reconnect":
                return self._move(link, received.seconds(data.get("within_seconds")) or 0)
            case "stale":
                return self._sync_soon()
            case "resumed":
                self._is_behind |= not data.get("recovered")
                if link.held is not None:  # more is to come
                    return self._resume(link)
                self._timers.cancel("resume")
            case "authenticated":
                self._renewal.before(tokens.time_of(data.get("expires_at")))
        if (answered := link.take_answered(kind, data)) is not None:
            self._answered(link, answered)
        return None

    def _answered(self, link: Link, frame: Frame) -> None:
        if frame.type == "sync":
            self._is_behind = False
        if link is self._next and link.held is None:
            self._use(link)
        must_sync = self._is_behind and self._of.has_presence and link is self._link and link.held is None
        if must_sync and not link.awaits("sync"):
            self.sync()

    def refused(self, link: Link, refusal: Mapping[str, Any]) -> None:
        """Do what the code of an error asks."""
        code, message = str(refusal.get("code")), str(refusal.get("message", ""))
        ends = code in {"AUTH_FAILED", "PERMISSION_DENIED"}
        if ends and link.forget("authenticate"):  # this connection lives until its old token expires
            return self._renewal.again()
        if code == "PERMISSION_DENIED":
            return self.stop("refused", f"{code}: {message}")
        if code == "AUTH_FAILED":
            self._is_anew = True
        if code == "BAD_REQUEST":  # `sync`, with a token that is good for no presence
            if link.forget("sync"):
                self._is_behind = False
            if not self._inbox.position:
                link.tell(Frame("ping", {}))
        if ends or code == "CONNECTION_LIMIT":
            link.refusal = f"{code}: {message}"
        if message.startswith("Replaced"):  # this user is elsewhere: no hurry
            self._back_off.no_hurry()
        return self._put_off(link, received.seconds(refusal.get("retry_after")))

    def _put_off(self, link: Link, seconds: float | None) -> None:
        if seconds is None:
            seconds = RESUME_AGAIN_SECONDS if link.held is not None and not link.refusal else 0
        if seconds:
            self._back_off.wait(seconds)
            if link.held is not None:
                self._timers.cancel("resume")
            self._timers.set("again", seconds * 1000, lambda: self._ask_again(link))

    def _move(self, link: Link, within_seconds: float) -> None:
        if within_seconds > 0:
            self._timers.set("retry", self._world.random() * within_seconds * 1000, self._attempt)
        else:
            self.lost(link, "unknown to the service")

    # ---- asking ----

    def _resume(self, link: Link) -> None:
        if link.held is None:
            link.held = {}
        link.forget("resume")
        link.tell(Frame("resume", {"position": dict(self._inbox.position)}))
        self._expect_more(link)

    def _expect_more(self, link: Link, *, is_last: bool = False) -> None:
        """Until `resumed`, live events wait: for an answer that does not come, ask once more."""

        def too_late() -> None:
            if self._is_current(link) and is_last:
                self.lost(link, "no answer to resume")
            elif self._is_current(link):
                self._resume(link)
                self._expect_more(link, is_last=True)

        self._timers.set("resume", RESUME_WITHIN_MS, too_late)

    def _ask(self, frame: Frame) -> None:
        if self._link is not None:
            self._link.tell(frame)
        if self._next is not None and self._next.asked:  # it is open already
            self._next.tell(frame)

    def _ask_again(self, link: Link) -> None:
        if not self._is_current(link):
            return
        asked, link.asked = link.asked, []
        for frame in asked:
            if frame.type == "resume":
                self._resume(link)
            else:
                link.tell(frame)

    def _sync_soon(self) -> None:
        if "stale" not in self._timers:
            apart_ms = max(0.0, self._synced_ms + SYNC_APART_MS - self._world.now_ms())
            self._timers.set("stale", apart_ms + self._world.random() * SYNC_WITHIN_MS, self.sync)

    def _is_dead(self) -> None:
        self.lost(self._link, "no answer to a ping")

    # ---- tokens ----

    def _renew(self) -> None:
        self._renewal.again()  # until it is answered
        if "renew" not in self._work:  # a slow provider is given the time it takes
            self._start("renew", self._authenticate())

    async def _authenticate(self) -> None:
        link = self._link
        try:
            token = await tokens.ask(self._of.token, anew=True)
        except Exception:  # noqa: BLE001  # the timer tries again; at the end the connection is closed, which is reported
            return
        if link is not None and link is self._link:
            link.forget("authenticate")
            link.tell(Frame("authenticate", {"token": token}))

    # ---- small things ----

    def _start(self, name: str, work: Any) -> None:
        if name in self._work:
            self._work[name].cancel()
        self._work[name] = task = self._world.start(work)
        task.add_done_callback(lambda done: self._work.pop(name, None) if self._work.get(name) is done else None)

    def _drop(self, link: Link | None) -> None:
        if link is not None:
            self._closing = {socket for socket in self._closing if not socket.is_gone}
            self._closing.add(link.socket)
            if link is self._link and "renew" in self._work:  # its token would come too late, and the next ask late
                self._work["renew"].cancel()
            link.is_left = True
            link.socket.close()

    def _become(self, state: State, why: str = "") -> None:
        if state != self.state or why:
            self.state = state
            self._of.changed(state, why)
