"""Parts of the tables in which nothing is ever found, for benchmarks that are about something else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from realtime.tables.blocks import Blocks
from realtime.tables.posted import LastPosted, PostedPositions
from realtime.tables.served import Served
from realtime.tables.stragglers import Behind, Stragglers


class NobodyBlocked(Blocks):
    """The blocks of users who have too few to be asked about."""

    def __init__(self) -> None:
        pass


class NobodyBehind(Stragglers):
    """The stragglers of a service that has none."""

    def __init__(self) -> None:
        pass

    def read(self) -> Behind:
        """Return that nobody is behind."""
        return Behind()

    def add(self, marks: Sequence[str], now_s: int) -> bool:
        """Note nothing."""
        return True


class NotNoted(Served):
    """The marks of wide audiences, which are not kept."""

    def __init__(self) -> None:
        pass

    def mark(self, audiences: Iterable[str], now_s: int) -> None:
        """Note nothing."""


class NothingNoted(PostedPositions):
    """No audience gets as many events as others would have to know of."""

    def __init__(self) -> None:
        pass

    def read(self, audiences: Collection[str]) -> dict[str, LastPosted]:
        return {}

    def write(self, posted: Mapping[str, LastPosted], now_s: int) -> None:
        pass
