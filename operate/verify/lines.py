"""What a person reads: one line for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(Enum):
    """What a line says at its beginning."""

    PASSED = "✓"
    FAILED = "✗"
    WARNED = "!"
    SKIPPED = "–"
    FOUND = "?"


@dataclass(frozen=True)
class Line:
    """What became of one check; `facts` are for the report."""

    key: str
    title: str
    verdict: Verdict
    says: str = ""
    advice: str = ""
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as it is shown; advice stands below."""
        text = f"{self.verdict.value} {self.title}" + (f": {self.says}" if self.says else "")
        return f"{text}\n    → {self.advice}" if self.advice else text


class FailedError(Exception):
    """A check found what should not be. `advice` says what a person should do; "" where only a log can tell."""

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
