"""DynamoDB transactions: all their writes are made or none, and a failed condition has a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from realtime.aws.clients import error_code, refusal, translate
from realtime.errors import RealtimeError, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TRANSACTION_LIMIT = 100  # writes in one transaction

Item = Mapping[str, Any]


class ConditionFailed(RealtimeError):
    """A condition does not hold, so nothing was written; each table has subclasses that say what that means."""


def _unnamed(_found: Item) -> ConditionFailed:
    return ConditionFailed("a condition does not hold")


@dataclass(frozen=True, slots=True)
class Write:
    """One write of an item in DynamoDB's form; if it has a condition, `failure` makes the error for when that fails.

    `failure` gets the item as it was found, but DynamoDB returns the item only if the request asks for it.
    """

    kind: Literal["Put", "Update", "Delete"]
    request: Mapping[str, Any]
    failure: Callable[[Item], RealtimeError] = _unnamed


class Transaction:
    """Writes to any tables that are to be made together; up to 100."""

    def __init__(self, client: DynamoDBClient) -> None:
        self._client = client
        self._writes: list[Write] = []

    def add(self, *writes: Write) -> Transaction:
        """Add writes; return the transaction itself."""
        self._writes += writes
        return self

    def commit(self, doing: str) -> None:
        """Make all the writes.

        Raises the failure of the first write whose condition does not hold; Rejected if a write can never be made;
        Unavailable if other writers were in the way, or a table was throttled, for longer than `retries` tries. If the
        answer to a transaction is lost, it is tried again under the same token, so it is made once.
        """
        items: Any = [{each.kind: each.request} for each in self._writes]
        try:
            self._client.transact_write_items(TransactItems=items)
        except ClientError as error:
            raise self._meaning(error, doing) from error
        except BotoCoreError as error:
            raise translate(error, doing) from error

    def _meaning(self, error: ClientError, doing: str) -> RealtimeError:
        """Return what an error of DynamoDB means; a failed condition counts most, because waiting would not help."""
        if error_code(error) != "TransactionCanceledException":
            return translate(error, doing)
        reasons = error.response.get("CancellationReasons", [])  # one a write, in their order
        for write, reason in zip(self._writes, reasons, strict=False):
            if reason.get("Code") == "ConditionalCheckFailed":
                return write.failure(reason.get("Item", {}))
        codes = {reason.get("Code", "None") for reason in reasons} - {"None"}
        refusals = [refusal(code, doing) for code in sorted(codes)]
        return min(refusals, key=_may_pass, default=refusal("TransactionCanceledException", doing))


def _may_pass(problem: RealtimeError) -> bool:
    return isinstance(problem, Unavailable)
