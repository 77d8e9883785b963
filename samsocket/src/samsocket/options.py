"""Options that `up` and `serve` share: each setting of the gateway, and the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from samsocket.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DEFAULTS: Final = Settings()
_NUMBERS: Final = {
    "idle_timeout": "Seconds without a message after which a connection is closed.",
    "max_age": "Seconds that a connection may last.",
    "message_bytes": "Largest message, either way.",
    "frame_bytes": "Largest frame of a client.",
    "post_frame_bytes": "A larger post to @connections closes its connection.",
    "connects_per_second": "New connections, of all APIs together.",
    "requests_per_second": "Handshakes, messages and posts, of all APIs together.",
    "requests_burst": "As many of them may come at once.",
    "buffer_bytes": "Unread bytes that a client may leave.",
    "decision_seconds": "For so long the right of a caller of @connections is remembered.",
    "latency": "Seconds that each event is on its way to its integration or authorizer.",
}
_SWITCHES: Final = {
    "compression": ("--compression/--no-compression", "Negotiate permessage-deflate."),
    "withhold_disconnect": ("--withhold-disconnect", "Never invoke $disconnect, to test the effect of a missed one."),
    "withhold_route_response": ("--withhold-route-response", "Never send a client what its route returns."),
}


def settings_options(command: _Command) -> _Command:
    """Give a command an option for each setting, as keyword arguments for `settings_of`."""
    for name, (flag, text) in reversed(_SWITCHES.items()):
        command = click.option(flag, name, is_flag=True, default=getattr(_DEFAULTS, name), help=text)(command)
    for name, text in reversed(_NUMBERS.items()):
        default = getattr(_DEFAULTS, name)
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, name, type=type(default), default=default, help=text)(command)
    return command


page_option = click.option(
    "--page/--no-page",
    "has_page",
    default=True,
    help="Show connections and frames on a page: /, or /_gateway/page/ beside another server.",
)


def settings_of(given: dict[str, Any]) -> Settings:
    """Return the settings that the options give.

    Raises:
        ClickException: a value means nothing.
    """
    try:
        return Settings(**given)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
