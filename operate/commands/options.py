"""The options that several commands have: which stack, and which claims a token has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import click

from operate.errors import CommandError
from operate.state import ROOT, StateFolder
from realtime.messages import ENDPOINTS

DEFAULT_STATE = ROOT / ".realtime"
STAGES = ("live", *ENDPOINTS)


def state_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command a `folder`: the state folder of the embedded stack."""
    return click.option(
        "--state",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="REALTIME_STATE",
        default=DEFAULT_STATE,
        show_default=".realtime",
        show_envvar=True,
        callback=lambda _ctx, _option, path: StateFolder(path),
        help="The embedded stack's folder. Another folder is another stack.",
    )(command)


def deployment_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command a `deployment`: a named stack in the cloud, or the embedded one."""

    @functools.wraps(command)
    def with_deployment(*, stack: str | None, folder: StateFolder, **arguments: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        from operate.deployment import Deployment
        from realtime.errors import RealtimeError

        try:
            deployment = Deployment.in_cloud(stack) if stack else Deployment.embedded(folder.ready())
            command(deployment=deployment, **arguments)
        except (BotoCoreError, ClientError, RealtimeError) as error:
            raise CommandError(str(error)) from error

    return state_option(
        click.option(
            "--stack",
            metavar="NAME",
            envvar="REALTIME_STACK",
            show_envvar=True,
            help="A stack in the cloud, by your AWS credentials and Region, in place of the embedded one.",
        )(with_deployment)
    )


class Ago(click.ParamType[float]):
    """A time before now, such as `90s`, `15m`, `2h` or `7d`; in seconds."""

    name = "ago"
    _UNITS: ClassVar = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        number, unit = value[:-1], value[-1:]
        if not number.isdecimal() or unit not in self._UNITS:
            self.fail(f"{value!r} is no time: write 90s, 15m, 2h or 7d", param, ctx)
        return float(int(number) * self._UNITS[unit])


def token_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command the claims of a token."""
    for option in (
        click.option(
            "--scope", metavar="ENDPOINTS", help="Endpoints that accept the token, separated by spaces; all if absent."
        ),
        click.option("--role", help='Listeners are announced on the feed: "listener".'),
        click.option("--username", help="The name that others see."),
        click.option("--ttl", type=float, default=3600, show_default=True, help="Seconds until it expires."),
    ):
        command = option(command)
    return command


def short_path(path: Path) -> str:
    """Return a path as a person would write it: relative to the current folder where it is below that."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
