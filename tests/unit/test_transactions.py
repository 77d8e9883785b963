from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from realtime.errors import ConfigurationError, Rejected, Unavailable
from realtime.tables.transactions import ConditionsFailed, transact
from tests.unit.fakes import aws_error

PARTS = [{"Put": {"TableName": "Users"}}, {"Put": {"TableName": "Connections"}}]


class DynamoDB:
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


def cancelled(*codes: str) -> Exception:
    """Return what DynamoDB raises when it cancels a transaction: a reason a part, `None` where that part is good."""
    return aws_error("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


def test_a_transaction_is_made_of_all_parts_at_once() -> None:
    client = DynamoDB()
    transact(client, PARTS, "registering")
    assert client.made == [PARTS]


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_what_trying_again_did_not_get_over_may_pass_later(code: str) -> None:
    client = DynamoDB(cancelled(code, "None"))
    with pytest.raises(Unavailable, match=f"registering: {code}"):
        transact(client, PARTS, "registering")
    assert client.tried == 1  # the client itself tries again


def test_conditions_that_do_not_hold_are_told_by_their_parts_at_once() -> None:
    client = DynamoDB(cancelled("None", "ConditionalCheckFailed"))
    with pytest.raises(ConditionsFailed) as caught:
        transact(client, PARTS, "registering")
    assert caught.value.parts == {1}
    assert client.tried == 1


def test_a_condition_counts_more_than_a_conflict_for_waiting_would_not_help() -> None:
    with pytest.raises(ConditionsFailed) as caught:
        transact(DynamoDB(cancelled("ConditionalCheckFailed", "TransactionConflict")), PARTS, "registering")
    assert caught.value.parts == {0}


@pytest.mark.parametrize(
    ("error", "becomes", "told"),
    [
        (aws_error("AccessDeniedException"), ConfigurationError, "registering: AccessDeniedException"),
        (aws_error("ValidationException"), Rejected, "registering: ValidationException"),
        (aws_error("InternalServerError"), Unavailable, "registering: InternalServerError"),
        (ReadTimeoutError(endpoint_url="https://dynamodb"), Unavailable, "registering: ReadTimeoutError"),
    ],
)
def test_other_errors_say_what_was_being_done(error: Exception, becomes: type[Exception], told: str) -> None:
    client = DynamoDB(error)
    with pytest.raises(becomes, match=told):
        transact(client, PARTS, "registering")
    assert client.tried == 1


@pytest.mark.parametrize("others", ["None", "TransactionConflict"])
def test_a_part_that_dynamodb_never_takes_is_rejected(others: str) -> None:
    client = DynamoDB(cancelled(others, "ValidationError"))
    with pytest.raises(Rejected, match="registering: ValidationError"):
        transact(client, PARTS, "registering")
    assert client.tried == 1


def test_a_cancellation_without_reasons_may_pass() -> None:
    with pytest.raises(Unavailable, match="registering: TransactionCanceledException"):
        transact(DynamoDB(cancelled()), PARTS, "registering")
