"""What a developer sees while the tool runs: progress, the lines of each function in its colour, and the gateway's."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from samsocket.activity import Activity, shortened
from samsocket.errors import StartError

_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")


class Terminal(logging.Handler):
    """Prints lines. As a handler it takes what the gateway logs.

    An `activity` gets the lines of functions, and what went wrong.
    """

    def __init__(self, activity: Activity | None = None) -> None:
        """Begin."""
        super().__init__()
        self.activity = activity
        self._colours = itertools.cycle(_COLOURS)
        self._colour_of: dict[str, str] = {}

    def say(self, line: str) -> None:
        """Print a line about the run itself."""
        click.echo(line)

    @contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """Print what is done now, and how long it took once it is done."""
        began = time.monotonic()
        self.say(f"… {doing}")
        yield
        self.say(f"✓ {doing}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Print an error that ends what is done now, whatever it is, and go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the connections must outlive it
            self.say(f"✗ {error}" if isinstance(error, StartError) else f"✗ {type(error).__name__}: {error}")

    def function(self, name: str, line: str) -> None:
        """Print what a function wrote."""
        colour = self._colour_of.get(name) or self._colour_of.setdefault(name, next(self._colours))
        click.echo(f"{click.style(f'{name} |', fg=colour)} {line}")
        if self.activity is not None:
            self.activity.add("log", function=name, text=shortened(line))

    def emit(self, record: logging.LogRecord) -> None:
        """Print what the gateway logs: its access log, and what went wrong."""
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        if record.levelno >= logging.WARNING:
            click.secho(f"{moment} {record.getMessage()}", fg="red")
            if self.activity is not None:
                self.activity.add("problem", text=shortened(record.getMessage()))
        else:
            click.secho(f"{moment} {record.getMessage()}", dim=True)


def gateway_log(terminal: Terminal) -> None:
    """Send what the gateway logs to the terminal, and nothing of other libraries below an error."""
    logger = logging.getLogger("samsocket")
    logger.handlers[:] = [terminal]
    logger.setLevel(logging.INFO)
    logger.propagate = False
