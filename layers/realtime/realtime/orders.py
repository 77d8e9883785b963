"""Messages that one of our functions queues for another, read back.

Whatever stands in a message, its reader says whether it is one; half a message must fail nobody else's. A key that this
version does not know was written by a newer one beside it, and is left out (docs/decisions/0057).
"""

from __future__ import annotations

from typing import TypeVar

from realtime.text import find_problem, loads

T = TypeVar("T")


def read_order(body: str, kind: type[T]) -> T:
    """Return the dataclass that a message's JSON stands for.

    Raises ValueError, which says what is wrong with it.
    """
    import msgspec  # noqa: PLC0415  # dear to load, and most functions that import this read no order

    value = loads(body)
    if problem := find_problem(value, "message"):
        raise ValueError(problem)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
