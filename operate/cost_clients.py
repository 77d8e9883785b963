"""A day of a marketplace by each kind of client: the messages that it must have, and what our service uses for them.

docs/cost.md compares it with other services (`cost_rivals`), which carry the same day.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from operate.cost import DAYS, PRICES, RENEWAL_MINUTES, USERS_A_READ, Cost, Line, lines
from operate.state import ROOT

LIBRARY = ROOT / "clients" / "typescript" / "src"
DAY_MINUTES = 24 * 60
MEASURED_WATCH = 10
"""Users whom the measured `watch` watches."""
REQUESTS_A_SECOND = 10_000
"""The default quota of an account, which messages to clients cannot pass."""


@dataclass(frozen=True)
class Market:
    """A day of a marketplace. Everything is spread evenly over the day."""

    users: float = 10_000
    """Users who come in a day."""
    listeners: float = 0.1
    """The share of them who are listeners, whom others watch and call."""
    sessions: float = 4
    minutes: float = 30
    """Minutes a session."""
    watched: float = 20
    """Listeners on a client's screen."""
    calls: float = 0.5
    """Calls a user; each has an event when it begins and one when it ends, and makes both participants busy."""
    notifications: float = 2
    """Notifications to a user."""

    @property
    def online(self) -> float:
        """Return how many users are online at a time, on average."""
        return self.users * self.sessions * self.minutes / DAY_MINUTES

    @property
    def listener_changes(self) -> float:
        """Return how often a listener's state changes in the whole day: online, offline, busy, available."""
        return self.users * (2 * self.sessions * self.listeners + 2 * self.calls)

    @property
    def changes(self) -> float:
        """Return how often any user's state changes in the whole day."""
        return self.users * (2 * self.sessions + 4 * self.calls)

    @property
    def watchers(self) -> float:
        """Return how many clients that are online watch a listener, on average."""
        return self.watched * self.online / (self.listeners * self.users) if self.listeners else 0.0


@dataclass(frozen=True)
class Client:
    """How a client uses the service."""

    name: str
    sockets: int
    """Four, one for each endpoint, or one for all."""
    watches: bool
    """Or else it hears everybody."""
    syncs: float
    """Snapshots that it requests a session."""
    ping_s: float = 0
    """It pings each so many seconds on each socket, whatever happens; 0: never."""
    silence_s: float = 0
    """It pings after so many seconds in which a socket heard nothing; 0: never."""

    def presence(self, market: Market) -> float:
        """Return the messages about users' states that all clients get in a day.

        A client that watches gets a listener's change once: with one socket, one frame holds what feed and presence
        say. A client that does not gets each user's change on presence, and each listener's on feed too.
        """
        if self.watches:
            return market.listener_changes * market.watchers
        return (market.changes + market.listener_changes) * market.online

    def pings(self, market: Market) -> float:
        """Return how many pings all clients send in a day."""
        seconds = market.users * market.sessions * market.minutes * 60 * self.sockets
        if self.ping_s:
            return seconds / self.ping_s
        heard = self.presence(market) + personal(market) + 2 * self.syncs * market.users * market.sessions
        return silent_pings(seconds, heard, self.silence_s)


DOCUMENTED = Client("documented clients", sockets=4, watches=False, syncs=0, ping_s=30)
"""Those of docs/api.md, one socket for each endpoint."""


def own() -> Client:
    """Our own: one socket for all endpoints, `watch` of what is on the screen; it pings only after a silence."""
    return Client("our own client", sockets=1, watches=True, syncs=1, silence_s=library("PING_AFTER") / 1000)


def library(name: str) -> float:
    """Return a constant of our JavaScript client, as its source has it."""
    text = "".join((LIBRARY / file).read_text(encoding="utf-8") for file in ("client.js", "line.js"))
    (value,) = re.findall(rf"^const {name} = ([0-9_]+);", text, re.MULTILINE)
    return float(value.replace("_", ""))


def personal(market: Market) -> float:
    """Return the messages to single users in a day: calls' events to both participants, and notifications."""
    return market.users * (4 * market.calls + market.notifications)


def silent_pings(seconds: float, heard: float, silence_s: float) -> float:
    """Return how many pings sockets send that are open for `seconds` together and hear `heard` messages.

    A ping follows each silence of `silence_s`, and its answer ends the silence. If messages come at random, at a rate
    r, a silence lasts that long with the probability p = exp(-r s), and the time between two of either is (1 - p) / r
    on average: p / that is r / (exp(r s) - 1) pings a second, and 1 / s if nothing is ever heard.
    """
    if not seconds or not silence_s:
        return 0.0
    rate = heard / seconds
    exponent = rate * silence_s
    return seconds / silence_s if exponent < 1e-9 else 0.0 if exponent > 700 else seconds * rate / math.expm1(exponent)


def used(costs: Mapping[str, Cost], market: Market, client: Client) -> Cost:
    """Return what a day of a marketplace takes of our service, with all messages.

    The cost of a listener's coming and going counts for every user.
    """
    sessions, calls = market.users * market.sessions, market.users * market.calls
    pings = client.pings(market)
    renewals = sessions * client.sockets * max(0, math.ceil(market.minutes / RENEWAL_MINUTES) - 1)
    events = 2 * calls + market.users * market.notifications  # the backends' own, put on the bus
    total = Cost(messages=client.presence(market), bus=events)
    rows = [
        ("one_begin" if client.sockets == 1 else "four_begin", sessions),
        ("one_end" if client.sockets == 1 else "four_end", sessions),
        ("sync", sessions * client.syncs),
        ("ping", max(0.0, pings - renewals)),
        ("renewal", min(pings, renewals)),
        ("call", calls),
        ("call_end", calls),
        ("notification", market.users * market.notifications),
    ]
    for name, times in rows:
        total = total.plus(costs[name].times(times))
    if client.watches:
        total = total.plus(Cost(writes=watch_writes(costs, market)).times(sessions))
    sweep = costs["sweep"].plus(Cost(reads=market.online * client.sockets / USERS_A_READ))
    return total.plus(sweep.times(DAY_MINUTES))


def watch_writes(costs: Mapping[str, Cost], market: Market) -> float:
    """Return the write units that a session writes more because it watches from its beginning, by one socket."""
    more = sum(costs[f"watching_{when}"].writes - costs[f"one_{when}"].writes for when in ("begin", "end"))
    return more * market.watched / MEASURED_WATCH


def minutes(market: Market, client: Client) -> float:
    """Return the connection minutes of a day."""
    return market.users * market.sessions * market.minutes * client.sockets


def month(costs: Mapping[str, Cost], market: Market, client: Client, snapstart: str = "none") -> list[Line]:
    """Return the bill of a month, line by line."""
    whole = used(costs, market, client).times(DAYS)
    pings = client.pings(market) * DAYS  # a ping is not worth a line in the log
    return list(lines(whole, minutes(market, client) * DAYS, quiet=pings, snapstart=snapstart))


def total(bill: list[Line]) -> float:
    """Return what a bill comes to, in dollars."""
    return sum(line.dollars for line in bill)


def floor(costs: Mapping[str, Cost], market: Market, client: Client) -> float:
    """Return what API Gateway alone takes for a month, in dollars: messages that must be sent, and minutes."""
    messages = used(costs, market, client).messages * PRICES["messages"]
    return (messages + minutes(market, client) * PRICES["minutes"]) * DAYS / 1e6


def is_deliverable(market: Market, client: Client) -> bool:
    """Whether an account's default quota carries the messages about users' states, spread evenly over the day."""
    return client.presence(market) / (24 * 3600) <= REQUESTS_A_SECOND
