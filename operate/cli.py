"""The console script `realtime`: runs the embedded stack, and works on it or on a stack in the cloud.

The commands import what they need when they run: botocore, aiohttp and jwt take half a second, which most commands
need not spend.
"""

from __future__ import annotations

from typing import Any

import click

from operate.commands import deploying, messages, people, shells, stack, upkeep
from operate.errors import CommandError

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""


class _Commands(click.Group):
    """Shows an error as one message, not as a traceback; docs/operating.md has the exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CommandError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """Run the service on this machine, and work on it or on a stack of it in the cloud."""


for _command in (
    *(stack.up, stack.down, stack.status, stack.env),
    *(messages.token, messages.publish, messages.listen),
    *(deploying.apply, deploying.rollback),
    *(people.who, people.connections, people.disconnect, people.forget),
    shells.completion,
    *(upkeep.cost, upkeep.redrive, upkeep.verify, upkeep.user, upkeep.logs, upkeep.top),
):
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="realtime")
