"""The errors that keep the embedded stack from starting or end it. Their texts tell a user what to do.

CommandError
├── ToolMissingError
├── PortTakenError
└── NotAnsweringError
"""

from __future__ import annotations

from pathlib import Path

from operate.errors import CommandError


class ToolMissingError(CommandError):
    """A program that the stack needs is not installed."""

    def __init__(self, tool: str, path: Path) -> None:
        """Name the tool and where it was looked for."""
        super().__init__(tool, path)
        self.tool, self.path = tool, path

    def __str__(self) -> str:
        """Say how to install it."""
        return f"{self.tool} is not installed (looked for {self.path}). Install it with: make setup"


class PortTakenError(CommandError):
    """Another program listens on a port that the stack is to use."""

    def __init__(self, port: int, option: str) -> None:
        """Name the port and the command-line option that chooses another."""
        super().__init__(port, option)
        self.port, self.option = port, option

    def __str__(self) -> str:
        """Say how to choose another."""
        return f"Port {self.port} is taken by another program. Choose a free one: realtime up {self.option} PORT"


class NotAnsweringError(CommandError):
    """A program runs but does not answer as it should."""

    def __init__(self, what: str, seconds: float, reason: str, log: Path) -> None:
        """Name the program, the time that it had, what came instead of an answer, and its log."""
        super().__init__(what, seconds, reason, log)
        self.what, self.seconds, self.reason, self.log = what, seconds, reason, log

    def __str__(self) -> str:
        """Say what came instead of an answer."""
        return f"The {self.what} did not answer within {self.seconds:.0f} s ({self.reason}). Look into {self.log}"
