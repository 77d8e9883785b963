"""What a first invocation needs is made before it comes: before SnapStart's snapshot, or while Lambda starts.

Lambda runs that phase faster than the function's memory would let its invocations run (docs/decisions/0026). Nothing
that is made then has a connection or a secret yet; botocore renews credentials that ran out since.
docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

_STARTS = frozenset({"on-demand", "provisioned-concurrency"})


def prepare(*makers: Callable[[], object]) -> None:
    """Have these called before the snapshot, or now where Lambda starts without one.

    Outside of Lambda, importing a function does no work.
    """
    kind = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE")
    if kind == "snap-start":
        _register(makers)
    elif kind in _STARTS:
        _make(makers)


def _register(makers: tuple[Callable[[], object], ...]) -> None:
    import snapshot_restore_py  # type: ignore[import-not-found]  # noqa: PLC0415  # Lambda's runtime brings it along

    for make in makers:
        snapshot_restore_py.register_before_snapshot(make)
    # Else all that are restored from one snapshot wait for the same "random" time before they try again.
    snapshot_restore_py.register_after_restore(random.seed)


def _make(makers: tuple[Callable[[], object], ...]) -> None:
    """Make what can be made: an error here would start the function anew, again and again, with no answer to anyone."""
    for make in makers:
        try:
            make()
        except Exception:  # noqa: BLE001  # the first invocation meets it again, and answers or fails as it would have
            from realtime.log import logger  # noqa: PLC0415

            logger().exception("what the first invocation needs could not be made yet")
