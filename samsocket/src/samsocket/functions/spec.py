"""A function of a template, as its processes need to know it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Family = Literal["python", "node", "custom"]

_FAMILIES: Final[tuple[tuple[str, Family], ...]] = (
    (r"python3\.\d+", "python"),
    (r"nodejs\d+\.x", "node"),
    (r"provided.*", "custom"),
)


def family_of(runtime: str) -> Family | None:
    """Return what runs a Lambda runtime's code; None for one that cannot be run here."""
    return next((family for pattern, family in _FAMILIES if re.fullmatch(pattern, runtime)), None)


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """A function: `name` is the deployed one; `timeout` in seconds, `memory` in MB.

    `code` are the folders in which its handler and what it imports are looked for, in this order: the source folder
    comes before the built one, so that a change counts at once. `role` are the variables that give it the rights of its
    role alone; without them it has those of the run's own key.
    """

    logical_id: str
    name: str
    arn: str
    runtime: str
    handler: str
    code: tuple[Path, ...]
    layers: tuple[Path, ...] = ()
    timeout: float = 3.0
    memory: int = 128
    environment: Mapping[str, str] = field(default_factory=dict)
    role: Mapping[str, str] = field(default_factory=dict)
