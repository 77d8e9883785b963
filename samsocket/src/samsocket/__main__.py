"""`python -m samsocket`, and the command `samsocket`."""

from __future__ import annotations

import importlib
from typing import Final

import click

_COMMANDS: Final = {
    "up": "cli_up:up",
    "setup": "cli_up:setup",
    "env": "cli_up:env",
    "serve": "cli:serve",
    "connect": "client:connect",
    "send": "client:send",
    "ls": "client:list_connections",
    "post": "client:post",
    "kill": "client:kill",
}
"""Where each command is, as `module:function` of this package."""


class _Group(click.Group):
    """Loads the module of the command that is called: a client needs nothing of what expands and deploys."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"samsocket.{module}"), name)
        return command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Run WebSocket APIs of SAM templates on this machine, as API Gateway runs them."""


if __name__ == "__main__":
    main(prog_name="samsocket")
