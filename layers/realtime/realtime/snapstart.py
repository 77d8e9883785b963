"""Prepare what the first invocation needs before it comes: before SnapStart's snapshot, or while Lambda starts.

Lambda gives that phase more CPU than the function's memory gives its invocations (docs/decisions/0026). Nothing that is
made then holds a connection or a secret; botocore renews credentials that have expired since.
docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

_STARTS = frozenset({"on-demand", "provisioned-concurrency"})


def prepare(*makers: Callable[[], object]) -> None:
    """Call these before the snapshot, or now if Lambda starts without one.

    Outside of Lambda nothing is called: importing a function does no work.
    """
    kind = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE")
    if kind == "snap-start":
        _register(makers)
    elif kind in _STARTS:
        _make(makers)


def _register(makers: tuple[Callable[[], object], ...]) -> None:
    import snapshot_restore_py  # type: ignore[import-not-found]  # noqa: PLC0415  # part of Lambda's runtime

    for make in makers:
        snapshot_restore_py.register_before_snapshot(make)
    # Otherwise all instances that are restored from one snapshot would wait for the same "random" times.
    snapshot_restore_py.register_after_restore(random.seed)


def _make(makers: tuple[Callable[[], object], ...]) -> None:
    """Call each maker. No error may escape: Lambda would restart the function again and again, without an answer."""
    for make in makers:
        try:
            make()
        except Exception:  # noqa: BLE001  # the first invocation meets it again and handles it
            from realtime.log import logger  # noqa: PLC0415

            logger().exception("could not prepare the first invocation")
