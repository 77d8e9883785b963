"""Strangers: clients that are refused. An address that causes many refusals gets cheap ones.

A refusal that tells the client the reason costs a write, a message on a queue, a post and a closed connection. Past its
address's rate a client gets 429 in its handshake, and nothing is written, queued or posted for it.
"""

from __future__ import annotations

import time
from ipaddress import ip_network

from realtime.errors import Unavailable
from realtime.log import logger
from realtime.rate_limit import Rate, RateLimit
from realtime.tables.rates import Rates

_IPV6_PREFIX = 64  # a household or a server has a network of this size, with as many addresses as it likes


class Strangers:
    """Count refused handshakes by address: in this instance first, then in a bucket that all instances share."""

    def __init__(self, rates: Rates, here: RateLimit, rate: Rate) -> None:
        self._rates = rates
        self._here = here
        self._rate = rate

    def are_too_many(self, address: str, now_ms: int) -> bool:
        """Count a refused handshake from an address; return whether its address has caused too many."""
        network = network_of(address)
        if self._here.take(network).wait_s:
            return True
        try:
            bucket = self._rates.take_of_address(network, self._rate.cost_ms(1), self._rate.room_ms, now_ms)
        except Unavailable as failure:  # what cannot be counted goes the normal way
            logger().warning("cannot count", extra={"reason": str(failure)})
            return False
        if not bucket.is_granted:
            self._here.refuse(network, self._rate.wait_s(bucket.full_at_ms, now_ms))
        return not bucket.is_granted


def network_of(address: str) -> str:
    """Return what counts as one: an IPv4 address, or the /64 network of an IPv6 address."""
    if ":" not in address:
        return address
    return str(ip_network(f"{address.partition('%')[0]}/{_IPV6_PREFIX}", strict=False))


def make_strangers(rates: Rates, per_second: float, burst: float) -> Strangers:
    """Return the limit of an address."""
    rate = Rate(per_second, burst)
    return Strangers(rates, RateLimit(rate, time.time), rate)
