"""SnapStart: what a first invocation needs is made before the snapshot is taken, so that no cold start waits for it.

Nothing that is made then has a connection or a secret yet; botocore renews credentials that ran out since.
docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable


def prepare(*makers: Callable[[], object]) -> None:
    """Have these called before the snapshot; where there will be none, importing a function does no work."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    import snapshot_restore_py  # type: ignore[import-not-found]  # noqa: PLC0415  # Lambda's runtime brings it along

    for make in makers:
        snapshot_restore_py.register_before_snapshot(make)
    # Else all that are restored from one snapshot wait for the same "random" time before they try again.
    snapshot_restore_py.register_after_restore(random.seed)
