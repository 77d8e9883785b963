"""The lines of the output: one for each check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(Enum):
    """The result at the beginning of a line."""

    PASSED = "✓"
    FAILED = "✗"
    WARNED = "!"
    SKIPPED = "–"
    FOUND = "?"


@dataclass(frozen=True)
class Line:
    """The result of one check; `facts` are for the report."""

    key: str
    title: str
    verdict: Verdict
    says: str = ""
    advice: str = ""
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the line as it is printed, with the advice below."""
        text = f"{self.verdict.value} {self.title}" + (f": {self.says}" if self.says else "")
        return f"{text}\n    → {self.advice}" if self.advice else text


class FailedError(Exception):
    """A check found a fault. `advice` says what a person should do; it is "" if only a log can show that."""

    def __init__(self, says: str, advice: str = "") -> None:
        """Take both."""
        super().__init__(says)
        self.says, self.advice = says, advice


class SkippedError(Exception):
    """A check cannot be made here, and that is no fault."""

    def __init__(self, reason: str) -> None:
        """Take the reason."""
        super().__init__(reason)
        self.reason = reason


Say = Callable[[Line], None]
