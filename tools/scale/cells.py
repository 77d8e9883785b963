"""Cells: several stacks, each in an account of its own, behind one contract.

A user belongs to one cell, by a hash of the user's id. Backends put what is for one user on that cell's bus; what is
for everybody, and a listener's changes, go to all cells' buses by rules with cross-account targets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from operate.cost import PRICES
from tools.scale.demand import changes_a_second
from tools.scale.design import Design

TARGETS_A_RULE = 5
MONTH_S = 30 * 24 * 3600


def cell_of(user_id: str, cells: Sequence[str]) -> str:
    """Return a user's cell. If a cell is added or taken away, only the users of that one move (rendezvous hashing)."""
    return max(cells, key=lambda cell: hashlib.sha256(f"{cell}/{user_id}".encode()).digest())


@dataclass(frozen=True)
class Mesh:
    """What each cell's bus carries, so that users see listeners of other cells."""

    cells: int
    rules: int
    """Of each cell's bus, for the buses of all others."""
    sent: float
    """Deliveries a second to other cells' buses, from one cell."""
    received: float
    """Events a second from other cells, which ingest records for the cell's own watchers."""
    dollars: float
    """A month, of all cells, for what crosses."""


def mesh(connections: float, cells: int, design: Design) -> Mesh:
    """Return what crosses between cells: each change of a listener, to every other cell."""
    changes = changes_a_second(connections, design) * design.listeners
    crossing = changes * (cells - 1)
    return Mesh(
        cells,
        math.ceil((cells - 1) / TARGETS_A_RULE),
        crossing / cells,
        changes * (cells - 1) / cells,
        crossing * MONTH_S * PRICES["bus"] / 1e6,
    )
