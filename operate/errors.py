"""Errors that keep a command from its job, in words for the person at the keyboard.

CommandError
├── AlreadyRunningError
├── NotRunningError
├── StackNotDeployedError
└── those of local/errors.py
"""

from __future__ import annotations

from pathlib import Path


class CommandError(Exception):
    """Base of all; its text says what is wrong and what to do."""


class AlreadyRunningError(CommandError):
    """A stack already runs with this state folder."""

    def __init__(self, folder: Path) -> None:
        """Name the folder."""
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        """Say how to see it, end it, or have a second one."""
        return (
            f"A stack already runs from {self.folder}. See it with: realtime status; end it with: realtime down; "
            "or start another beside it: realtime up --state FOLDER --port PORT"
        )


class NotRunningError(CommandError):
    """No stack runs with this state folder."""

    def __init__(self, folder: Path) -> None:
        """Name the folder."""
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        """Say how to start one."""
        return f"No stack runs from {self.folder}. Start it with: realtime up --detach"


class StackNotDeployedError(CommandError):
    """CloudFormation does not know the stack."""

    def __init__(self, stack: str, where: str) -> None:
        """Name the stack and the place where it was looked for."""
        super().__init__(stack, where)
        self.stack, self.where = stack, where

    def __str__(self) -> str:
        """Say where it was looked for."""
        return f"There is no stack {self.stack} in {self.where}."
