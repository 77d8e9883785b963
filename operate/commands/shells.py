"""The command `completion`: what a shell needs to complete this program's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

NAME = "realtime"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what completes the words of realtime in your shell.

    \b
    bash   eval "$(realtime completion bash)"       in ~/.bashrc
    zsh    eval "$(realtime completion zsh)"        in ~/.zshrc
    fish   realtime completion fish | source        in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"click knows no {shell}", param_hint="SHELL")
    click.echo(kind(context.find_root().command, {}, NAME, f"_{NAME.upper()}_COMPLETE").source())
