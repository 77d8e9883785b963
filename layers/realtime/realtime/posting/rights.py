"""Whose fault a 403 is: one connection's, or the role's, which then lacks the right for a stage and a method.

A refused delivery is held back until other answers of its stage and method tell. If one shows that the role has the
right, the 403 was the connection's alone. Three in a row show that the right is missing. If there are too few answers,
connections that do not exist are asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeAlias

from realtime.posting.delivery import D
from realtime.posting.progress import Progress

_CONSECUTIVE_REFUSALS = 3
_NOBODY = 410

Right: TypeAlias = tuple[str, str]  # a stage and a method


def shows_right(status: int) -> bool:
    """Return whether only a role with the right gets this answer; without it, a missing connection gets a 403, too."""
    return 200 <= status < 300 or status == _NOBODY


class Rights(Generic[D]):
    """What the answers of one call of `deliver` show of the role's rights."""

    def __init__(self) -> None:
        self.refused: dict[Right, list[Progress[D]]] = {}
        """The deliveries and probes that met a 403, with no answer between that shows the right."""
        self._asked: set[Right] = set()

    def is_missing(self, progress: Progress[D]) -> bool:
        """Return whether the role lacks the right for a delivery's next request."""
        return len(self.refused.get(_right_of(progress), ())) >= _CONSECUTIVE_REFUSALS

    def refuse(self, progress: Progress[D]) -> list[Progress[D]]:
        """Note a 403; return the deliveries of which it is known now that the role lacks their right."""
        refused = self.refused.setdefault(_right_of(progress), [])
        refused.append(progress)
        if len(refused) < _CONSECUTIVE_REFUSALS:
            return []
        return refused[:] if len(refused) == _CONSECUTIVE_REFUSALS else [progress]

    def show(self, progress: Progress[D]) -> list[Progress[D]]:
        """Note an answer that shows the right; return the deliveries that were held back: the role is not at fault."""
        refused = self.refused.pop(_right_of(progress), [])
        return refused if len(refused) < _CONSECUTIVE_REFUSALS else []

    def to_ask(self) -> Iterator[Right]:
        """Yield each right in doubt once for each try that it still needs; no right is asked about by a second call."""
        for right, refused in self.refused.items():
            if right not in self._asked:
                self._asked.add(right)
                yield from [right] * (_CONSECUTIVE_REFUSALS - len(refused))

    def held(self) -> list[Progress[D]]:
        """Return the deliveries that are held back."""
        return [
            progress
            for refused in self.refused.values()
            if len(refused) < _CONSECUTIVE_REFUSALS
            for progress in refused
        ]


def _right_of(progress: Progress[D]) -> Right:
    return progress.delivery.stage, progress.method
