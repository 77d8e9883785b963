"""docs/cost.md has the figures that the handlers cause."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from operate.cost import Workload, read
from realtime.aws import clients
from tests.support import costs
from tests.support.cloud import Cloud
from tests.support.costs import measure, tables
from tests.support.meter import Index, Item, Meter, read_units, size, write_units
from tests.unit.fakes import Clock
from tools import marks

BY_SHARD = Index(("shard", "id"), frozenset({"id", "shard", "name"}))


def test_the_page_prints_what_is_measured_and_the_command_reads_it(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = costs.PATH.read_text(encoding="utf-8")
    printed = marks.printed(page, costs.PROGRAM)
    measured = measure(cloud, clock, monkeypatch)
    assert printed == tables(measured, Workload()), "python -m tests.support.costs writes it anew"
    assert read() == measured, "and what `realtime cost` reads"


def test_an_item_is_as_large_as_its_names_and_values() -> None:
    # A number has a byte for two significant digits, and one more.
    item: Item = {"id": {"S": "é"}, "at": {"N": "1705314600000"}, "types": {"SS": ["a", "bc"]}, "batch": {"BOOL": True}}
    assert size(item) == (2 + 2) + (2 + 5) + (5 + 3) + (5 + 1)
    assert size(None) == 0


@pytest.mark.parametrize(
    ("read_bytes", "consistent", "units"), [(0, False, 0.5), (4096, True, 1), (4097, True, 2), (9000, False, 1.5)]
)
def test_reads_are_metered_by_4_kb_and_half_when_eventually_consistent(
    read_bytes: int, consistent: bool, units: float
) -> None:
    assert read_units(read_bytes, consistent=consistent) == units


def test_a_write_is_metered_by_the_larger_image_and_twice_in_a_transaction() -> None:
    small, large = {"id": {"S": "1"}}, {"id": {"S": "1"}, "name": {"S": "x" * 2000}}
    assert write_units(None, small, []) == write_units(small, None, []) == 1
    assert write_units(large, small, []) == 2
    assert write_units(small, large, [], transactional=True) == 4


def test_a_call_that_fails_does_not_hold_up_the_next(cloud: Cloud) -> None:
    meter, client = Meter(cloud), clients.client("dynamodb")
    with meter.measuring() as cost:
        with pytest.raises(ParamValidationError):
            client.get_item(TableName="UsersTable", Key="no key")
        with pytest.raises(ClientError):
            client.update_item(TableName="UsersTable", Key={"user_id": {"S": "1"}}, UpdateExpression="no update")
        client.get_item(TableName="UsersTable", Key={"user_id": {"S": "1"}})
    assert cost.reads == 0.5


def test_an_index_is_written_only_if_its_projection_changes() -> None:
    absent, there = {"id": {"S": "1"}}, {"id": {"S": "1"}, "shard": {"S": "a"}}
    assert BY_SHARD.write_units(None, absent) == 0  # sparse
    assert BY_SHARD.write_units(absent, there) == 1
    assert BY_SHARD.write_units(there, {**there, "other": {"S": "x"}}) == 0
    assert BY_SHARD.write_units(there, {**there, "name": {"S": "x"}}) == 1
    assert BY_SHARD.write_units(there, {**there, "shard": {"S": "b"}}) == 2
    assert BY_SHARD.write_units(there, absent) == 1
