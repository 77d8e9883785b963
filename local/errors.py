"""What keeps the embedded stack from starting or ends it, in words for the person at the keyboard.

CommandError
├── ToolMissingError
├── PortTakenError
├── StepFailedError
├── ServiceEndedError
└── NotAnsweringError
"""

from __future__ import annotations

from pathlib import Path

from operate.errors import CommandError


class ToolMissingError(CommandError):
    """A program that the stack is made of is not installed."""

    def __init__(self, tool: str, path: Path) -> None:
        """Name the tool and where it was looked for."""
        super().__init__(tool, path)
        self.tool, self.path = tool, path

    def __str__(self) -> str:
        """Say how to install it."""
        return f"{self.tool} is not installed (looked for {self.path}). Install it with: make setup"


class PortTakenError(CommandError):
    """Another program listens on a port that the stack was told to use."""

    def __init__(self, port: int, option: str) -> None:
        """Name the port and the command-line option that chooses another."""
        super().__init__(port, option)
        self.port, self.option = port, option

    def __str__(self) -> str:
        """Say how to choose another."""
        return f"Port {self.port} is taken by another program. Choose a free one: realtime up {self.option} PORT"


class StepFailedError(CommandError):
    """A command that prepares the stack exited with an error."""

    def __init__(self, step: str, code: int, log: Path, tail: str) -> None:
        """Name the step, its exit code, its log, and that log's last lines."""
        super().__init__(step, code, log, tail)
        self.step, self.code, self.log, self.tail = step, code, log, tail

    def __str__(self) -> str:
        """Show the log's end and where the rest is."""
        return f"{self.step} failed with exit code {self.code}:\n\n{self.tail}\n\nAll of it: {self.log}"


class ServiceEndedError(CommandError):
    """A program that the stack is made of ended although nobody asked it to."""

    def __init__(self, service: str, code: int, log: Path, tail: str) -> None:
        """Name the service, its exit code, its log, and that log's last lines."""
        super().__init__(service, code, log, tail)
        self.service, self.code, self.log, self.tail = service, code, log, tail

    def __str__(self) -> str:
        """Show the log's end and where the rest is."""
        return f"The {self.service} ended with exit code {self.code}:\n\n{self.tail}\n\nAll of it: {self.log}"


class NotAnsweringError(CommandError):
    """Something runs but does not answer as it should."""

    def __init__(self, what: str, seconds: float, reason: str, log: Path) -> None:
        """Name the part that was asked, the time, what came instead, and the log."""
        super().__init__(what, seconds, reason, log)
        self.what, self.seconds, self.reason, self.log = what, seconds, reason, log

    def __str__(self) -> str:
        """Say what came instead."""
        return f"The {self.what} did not answer within {self.seconds:.0f} s ({self.reason}). Look into {self.log}"
