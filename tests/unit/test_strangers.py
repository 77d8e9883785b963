from __future__ import annotations

import pytest

from realtime.errors import Unavailable
from realtime.rate_limit import Rate, RateLimit
from realtime.strangers import Strangers, network_of
from realtime.tables.rates import Bucket, Rates
from tests.unit.fakes import Clock

NOW = 1_000_000
RATE = Rate(1, 3)


class FakeRates(Rates):
    """The shared buckets of addresses, in memory; they can be out of reach."""

    def __init__(self) -> None:
        self.full_at: dict[str, int] = {}
        self.writes = 0
        self.is_away = False

    def take_of_address(self, address: str, cost_ms: int, room_ms: int, now_ms: int) -> Bucket:
        self.writes += 1
        if self.is_away:
            raise Unavailable("away")
        before = self.full_at.get(address, 0)
        if before > now_ms + room_ms:
            return Bucket(before, before, is_granted=False)
        self.full_at[address] = max(before, now_ms) + cost_ms
        return Bucket(before, self.full_at[address], is_granted=True)


def instance(rates: Rates, clock: Clock) -> Strangers:
    return Strangers(rates, RateLimit(RATE, clock), RATE)


def test_an_address_may_cause_a_burst_of_refusals_over_all_instances() -> None:
    rates, clock = FakeRates(), Clock(NOW / 1000)
    many = [instance(rates, clock) for _ in range(10)]
    assert [each.are_too_many("192.0.2.1", NOW) for each in many] == [False] * 3 + [True] * 7
    assert not many[0].are_too_many("192.0.2.2", NOW)


def test_an_instance_remembers_that_an_address_is_over_its_limit_and_writes_no_more() -> None:
    rates, clock = FakeRates(), Clock(NOW / 1000)
    one = instance(rates, clock)
    rates.full_at["192.0.2.1"] = NOW + 60_000
    assert all(one.are_too_many("192.0.2.1", NOW) for _ in range(20))
    assert rates.writes == 1
    clock.now += 58
    assert not one.are_too_many("192.0.2.1", NOW + 58_000)


def test_what_cannot_be_counted_goes_the_normal_way() -> None:
    rates = FakeRates()
    rates.is_away = True
    assert not instance(rates, Clock()).are_too_many("192.0.2.1", NOW)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_the_addresses_of_an_ipv6_network_count_as_one(address: str, network: str) -> None:
    assert network_of(address) == network
