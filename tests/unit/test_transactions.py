from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from realtime.errors import ConfigurationError, ConnectionLimit, RealtimeError, Rejected, Unavailable
from realtime.tables.dynamodb import plain
from realtime.tables.outbox import Duplicate
from realtime.tables.transactions import ConditionFailed, Transaction, Write
from tests.unit.fakes import as_client, aws_error

LIMIT = ConnectionLimit()
USER = Write("Put", {"TableName": "Users"}, lambda _: LIMIT)
CONNECTION = Write("Delete", {"TableName": "Connections"})
MARK = Write("Put", {"TableName": "Events"}, lambda found: Duplicate(plain(found).get("recorded_as")))


class FakeDynamoDB:
    """TransactWriteItems: raises these errors one after another, then makes the transaction."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.tried = 0
        self.made: list[Any] = []

    def transact_write_items(self, *, TransactItems: list[Any]) -> None:  # noqa: N803  # AWS's name
        self.tried += 1
        if self._errors:
            raise self._errors.pop(0)
        self.made.append(TransactItems)

    def __len__(self) -> int:
        return len(self.made)


def cancelled(*codes: str, **items: Any) -> Exception:
    """Return what DynamoDB raises when it cancels a transaction: a reason for each write, `None` for a good one."""
    reasons = [{"Code": code, **items} if code == "ConditionalCheckFailed" else {"Code": code} for code in codes]
    return aws_error("TransactionCanceledException", CancellationReasons=reasons)


def commit(client: FakeDynamoDB, *writes: Write) -> None:
    Transaction(as_client(client)).add(*writes).commit("registering")


def test_a_transaction_makes_all_writes_at_once_in_their_order() -> None:
    client = FakeDynamoDB()
    Transaction(as_client(client)).add(USER).add(CONNECTION, MARK).commit("registering")
    assert client.made == [[{"Put": USER.request}, {"Delete": CONNECTION.request}, {"Put": MARK.request}]]


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_failure_that_outlasts_the_retries_is_unavailable(code: str) -> None:
    client = FakeDynamoDB(cancelled(code, "None"))
    with pytest.raises(Unavailable, match=f"registering: {code}"):
        commit(client, USER, CONNECTION)
    assert client.tried == 1  # the client itself tries again


def test_a_failed_condition_raises_the_error_of_its_write() -> None:
    with pytest.raises(ConnectionLimit):
        commit(FakeDynamoDB(cancelled("None", "ConditionalCheckFailed")), CONNECTION, USER)


def test_the_first_of_several_failed_conditions_counts() -> None:
    failed = cancelled("ConditionalCheckFailed", "ConditionalCheckFailed")
    with pytest.raises(ConnectionLimit):
        commit(FakeDynamoDB(failed), USER, MARK)


def test_the_error_of_a_failed_condition_knows_the_item_that_was_found() -> None:
    with pytest.raises(Duplicate) as caught:
        commit(FakeDynamoDB(cancelled("ConditionalCheckFailed", Item={"recorded_as": {"S": "0001"}})), MARK)
    assert caught.value.recorded_as == "0001"


def test_a_failed_condition_without_an_error_of_its_own_is_raised_as_such() -> None:
    with pytest.raises(ConditionFailed):
        commit(FakeDynamoDB(cancelled("ConditionalCheckFailed")), CONNECTION)


@pytest.mark.parametrize("other", ["TransactionConflict", "ValidationError"])
def test_a_failed_condition_counts_more_than_another_reason(other: str) -> None:
    with pytest.raises(ConnectionLimit):
        commit(FakeDynamoDB(cancelled(other, "ConditionalCheckFailed")), CONNECTION, USER)


@pytest.mark.parametrize(
    ("error", "becomes", "message"),
    [
        (aws_error("AccessDeniedException"), ConfigurationError, "registering: AccessDeniedException"),
        (aws_error("ValidationException"), Rejected, "registering: ValidationException"),
        (aws_error("InternalServerError"), Unavailable, "registering: InternalServerError"),
        (ReadTimeoutError(endpoint_url="https://dynamodb"), Unavailable, "registering: ReadTimeoutError"),
    ],
)
def test_other_errors_name_the_operation(error: Exception, becomes: type[RealtimeError], message: str) -> None:
    client = FakeDynamoDB(error)
    with pytest.raises(becomes, match=message):
        commit(client, USER)
    assert client.tried == 1


@pytest.mark.parametrize("others", ["None", "TransactionConflict"])
def test_a_write_that_dynamodb_never_takes_is_rejected(others: str) -> None:
    client = FakeDynamoDB(cancelled(others, "ValidationError"))
    with pytest.raises(Rejected, match="registering: ValidationError"):
        commit(client, USER, CONNECTION)
    assert client.tried == 1


@pytest.mark.parametrize("more", [{}, {"CancellationReasons": []}, {"CancellationReasons": [{}]}])
def test_a_cancellation_without_reasons_is_a_temporary_error(more: dict[str, Any]) -> None:
    with pytest.raises(Unavailable, match="registering: TransactionCanceledException"):
        commit(FakeDynamoDB(aws_error("TransactionCanceledException", **more)), USER)


def test_a_failed_condition_is_named_though_its_item_is_not_returned() -> None:
    with pytest.raises(Duplicate) as caught:
        commit(FakeDynamoDB(cancelled("ConditionalCheckFailed")), MARK)
    assert caught.value.recorded_as is None
