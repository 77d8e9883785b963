"""What other services charge for the same day of a marketplace, by their public price lists.

Where a list leaves something open, it is counted in the rival's favour; `lacks` says what is missing for the money.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from operate.cost import DAYS, PRICES, Cost
from operate.cost_clients import Market, floor, own, personal

PEAK = 2.0
"""Users online at the busiest time, to the average; plans that limit connections must hold them."""

HEARTBEAT_MINUTES = 1.0
"""How often a client of a service that does not see connections end must say that it is there."""


@dataclass(frozen=True)
class Rival:
    """Another service."""

    name: str
    source: str
    """Where its prices stand, and when they were read."""
    dollars: Callable[[Market], float | None]
    """What it charges for a month; None if no public plan carries it."""
    counts: str
    """What is counted."""
    lacks: str


def tiered(amount: float, tiers: Sequence[tuple[float, float]]) -> float:
    """Return the price of an amount (millions); each tier has a size (millions) and its price of a million."""
    price = 0.0
    for size, each in tiers:
        taken = min(amount, size)
        price += taken * each
        amount -= taken
    return price


def published(market: Market) -> float:
    """Return the events that somebody publishes in a day: listeners' changes, calls' events, notifications."""
    return market.listener_changes + market.users * (2 * market.calls + market.notifications)


def delivered(market: Market) -> float:
    """Return the messages that clients get in a day, without answers to their own."""
    return market.listener_changes * market.watchers + personal(market)


def _connection_minutes(market: Market) -> float:
    return market.users * market.sessions * market.minutes


# ---- AWS AppSync Events ---------------------------------------------------------------------------------------------

APPSYNC_OPERATION, APPSYNC_MINUTE = 1.00, 0.08  # a million


def appsync(market: Market) -> float:
    """Operations: connects, subscriptions (one for each listener on the screen and one of the user's own), events."""
    sessions = market.users * market.sessions
    operations = sessions * (1 + market.watched + 1) + published(market) + delivered(market)
    return (operations * APPSYNC_OPERATION + _connection_minutes(market) * APPSYNC_MINUTE) * DAYS / 1e6


def appsync_with_presence(market: Market) -> float:
    """The same, with presence: each heartbeat is published, handled, and written to a table by the handler."""
    heartbeats = _connection_minutes(market) / HEARTBEAT_MINUTES
    return appsync(market) + heartbeats * (2 * APPSYNC_OPERATION + PRICES["writes"]) * DAYS / 1e6


# ---- Ably -----------------------------------------------------------------------------------------------------------

ABLY_PACKAGES = ((29, 10_000, 10_000, 2_500), (399, 50_000, 50_000, 10_000))
"""Dollars a month; connections and channels at once, messages a second: Standard, Pro."""
ABLY_MESSAGES = ((50, 2.50), (450, 2.25), (4_500, 1.95), (15_000, 1.65), (30_000, 1.40), (math.inf, 1.25))
ABLY_MINUTES = ((10, 1.00), (90, 0.95), (900, 0.85), (4_000, 0.75), (10_000, 0.65), (math.inf, 0.60))
"""Of connections, and again of channels."""


def ably(market: Market) -> float | None:
    """A channel for each listener, always active as somebody watches, and one for each user while connected."""
    messages = published(market) + delivered(market)
    connections = market.online * PEAK
    channels = market.listeners * market.users + connections
    for base, most_connections, most_channels, rate in ABLY_PACKAGES:
        if connections <= most_connections and channels <= most_channels and PEAK * messages / 86_400 <= rate:
            active = market.listeners * market.users * 24 * 60 + _connection_minutes(market)
            return (
                base
                + tiered(messages * DAYS / 1e6, ABLY_MESSAGES)
                + tiered(_connection_minutes(market) * DAYS / 1e6, ABLY_MINUTES)
                + tiered(active * DAYS / 1e6, ABLY_MINUTES)
            )
    return None


# ---- Pusher Channels ------------------------------------------------------------------------------------------------

PUSHER_PLANS = (
    (0, 100, 0.2e6),
    (49, 500, 1e6),
    (99, 2_000, 4e6),
    (299, 5_000, 10e6),
    (499, 10_000, 20e6),
    (699, 15_000, 40e6),
    (899, 20_000, 60e6),
    (1_199, 30_000, 90e6),
)
"""Dollars a month; connections at once, messages a day: Sandbox to Growth Plus."""


def pusher(market: Market) -> float | None:
    """The cheapest plan that holds the busiest time's connections and the day's messages."""
    messages = published(market) + delivered(market)
    for price, connections, a_day in PUSHER_PLANS:
        if market.online * PEAK <= connections and messages <= a_day:
            return price
    return None


# ---- Hotsock --------------------------------------------------------------------------------------------------------

HOTSOCK_LICENCE = 99.0  # a month


def hotsock(measured: Mapping[str, Cost]) -> Callable[[Market], float]:
    """Return a function: the licence, and what API Gateway alone takes; its functions and tables come on top."""
    return lambda market: HOTSOCK_LICENCE + floor(measured, market, own())


def rivals(measured: Mapping[str, Cost]) -> list[Rival]:
    """Return all of them."""
    return [
        Rival(
            "AWS AppSync Events",
            "aws.amazon.com/appsync/pricing, from earlier notes; the price of an operation as in AWS's price file of "
            "2024-09. That connects and subscriptions are operations was not read again",
            appsync,
            "$1.00 a million operations, $0.08 a million connection minutes",
            "presence, history, resume, acknowledgements",
        ),
        Rival(
            "AppSync Events and presence built on it",
            "the same; a heartbeat a minute, published, handled and written to DynamoDB",
            appsync_with_presence,
            "two operations and a write unit a heartbeat",
            "history, resume, acknowledgements; you run the presence code",
        ),
        Rival(
            "Ably",
            "ably.com/docs/platform/pricing and its source (github.com/ably/docs), read 2026-11: the list by minutes, "
            "for accounts that have it. New accounts pay by monthly active users, a price that we did not find",
            ably,
            "package, messages, connection minutes and channel minutes, with their volume discounts",
            "acknowledgements by a deadline; busy state is yours to publish",
        ),
        Rival(
            "Pusher Channels",
            "pusher.com/channels/pricing, as listed in github.com/api-evangelist/pusher, 2026-05",
            pusher,
            f"the cheapest plan for {PEAK:g} times the average connections",
            "history and resume",
        ),
        Rival(
            "Hotsock (licence and API Gateway alone)",
            "hotsock.io/pricing: $99 a month on top of AWS; from earlier notes, not read again in 2026-11",
            hotsock(measured),
            "the least that it can be",
            "busy state; what its own functions and tables cost is not published",
        ),
    ]
