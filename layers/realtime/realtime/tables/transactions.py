"""DynamoDB transactions: all parts or none, and which of them failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from realtime.aws.clients import error_code, refusal, translate
from realtime.errors import RealtimeError, Unavailable


class ConditionsFailed(RealtimeError):
    """A transaction was not made, for conditions of its parts do not hold; `parts` are their positions."""

    def __init__(self, parts: frozenset[int]) -> None:
        super().__init__(f"conditions failed in parts {sorted(parts)}")
        self.parts = parts


def transact(client: Any, parts: Sequence[dict[str, Any]], doing: str) -> None:
    """Make a transaction of up to 100 parts.

    Raises ConditionsFailed; Rejected where a part can never be made; Unavailable where other writers were in the way,
    or the table was throttled, for longer than `retries` tries. A transaction whose answer was lost is tried again
    under the same token: it is made once.
    """
    try:
        client.transact_write_items(TransactItems=list(parts))
    except ClientError as error:
        if error_code(error) != "TransactionCanceledException":
            raise translate(error, doing) from error
        reasons = [reason.get("Code", "None") for reason in error.response.get("CancellationReasons", ())]
        failed = frozenset(at for at, reason in enumerate(reasons) if reason == "ConditionalCheckFailed")
        if failed:
            raise ConditionsFailed(failed) from error
        refusals = [refusal(reason, doing) for reason in sorted(set(reasons) - {"None"})]
        raise min(refusals, key=_is_passing, default=refusal("TransactionCanceledException", doing)) from error
    except BotoCoreError as error:
        raise translate(error, doing) from error


def _is_passing(problem: RealtimeError) -> bool:
    return isinstance(problem, Unavailable)
