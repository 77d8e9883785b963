"""DynamoDB transactions: all parts or none, tried again where another writer was in the way."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from realtime.aws import error_code, translate
from realtime.errors import RealtimeError, Unavailable

_ATTEMPTS = 6
_PASSING = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


class ConditionsFailed(RealtimeError):
    """A transaction was not made, for conditions of its parts do not hold; `parts` are their positions."""

    def __init__(self, parts: frozenset[int]) -> None:
        super().__init__(f"conditions failed in parts {sorted(parts)}")
        self.parts = parts


def transact(client: Any, parts: Sequence[dict[str, Any]], doing: str) -> None:
    """Make a transaction of up to 100 parts.

    Raises ConditionsFailed, or Unavailable where conflicts last: DynamoDB cancels a transaction that meets another
    one on the same item, and the SDK does not try those again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            client.transact_write_items(TransactItems=list(parts))
        except ClientError as error:
            if error_code(error) != "TransactionCanceledException":
                raise translate(error, doing) from error
            reasons = [reason.get("Code", "None") for reason in error.response.get("CancellationReasons", ())]
            failed = frozenset(at for at, reason in enumerate(reasons) if reason == "ConditionalCheckFailed")
            if failed:
                raise ConditionsFailed(failed) from error
            lasting = set(reasons) - _PASSING
            if lasting:
                raise Unavailable(f"{doing}: {', '.join(sorted(lasting))}") from error
            time.sleep(random.uniform(0, 0.02 * 2**attempt))
        except BotoCoreError as error:
            raise translate(error, doing) from error
        else:
            return
    raise Unavailable(f"{doing}: other writers were in the way {_ATTEMPTS} times")
