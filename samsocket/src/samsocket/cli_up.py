"""The commands `samsocket up`, `samsocket setup` and `samsocket env`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from samsocket.activity import Activity
from samsocket.environments import Environments, home
from samsocket.errors import StartError
from samsocket.options import page_option, settings_of, settings_options
from samsocket.project.expansion import find_template
from samsocket.shell import exports
from samsocket.terminal import Terminal, gateway_log
from samsocket.up import Options, Run


@click.command(context_settings={"show_default": True})
@click.option("-t", "--template", type=click.Path(path_type=Path), help="The SAM template, or its folder.")
@click.option("-p", "--port", type=click.IntRange(1, 65535), default=3001)
@click.option(
    "--parameter-overrides", "overrides", multiple=True, metavar="'Key=Value …'", help="As sam deploy has it."
)
@click.option("--region", envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], default="us-east-1")
@click.option("--watch/--no-watch", default=True, help="Take over changes of code and template at once.")
@click.option("--strict", is_flag=True, help="Refuse a template that AWS refuses.")
@click.option("--enforce-iam", is_flag=True, help="Functions have the rights of their roles alone.")
@click.option(
    "--debug-function", "debugged", metavar="NAME", multiple=True, help="Wait for a debugger before its code."
)
@click.option("--debug-port", type=click.IntRange(1, 65535), default=5678, help="Of the first; the next has the next.")
@settings_options
@page_option
def up(
    template: Path | None,
    port: int,
    overrides: tuple[str, ...],
    region: str,
    debugged: tuple[str, ...],
    debug_port: int,
    *,
    watch: bool,
    strict: bool,
    enforce_iam: bool,
    has_page: bool,
    **limits: Any,
) -> None:
    """Run the template of this folder, until Ctrl-C.

    Needs neither Docker nor an AWS account. The first run installs the emulator into the user's cache folder.
    """
    terminal = Terminal(Activity() if has_page else None)
    gateway_log(terminal)
    options = Options(
        template=template,
        port=port,
        overrides=overrides,
        region=region,
        watch=watch,
        strict=strict,
        enforces_iam=enforce_iam,
        debugged={name: debug_port + number for number, name in enumerate(debugged)},
        settings=settings_of(limits),
    )
    try:
        asyncio.run(Run(options, terminal).go())
    except StartError as error:
        raise click.ClickException(str(error)) from error


@click.command()
def setup() -> None:
    """Install now all that `up` would install later, for example in an image that will have no network."""
    environments = Environments(home(), click.echo)
    try:
        environments.ministack()
        environments.sam()
        environments.python(f"python{sys.version_info.major}.{sys.version_info.minor}", debugged=False)
        if shutil.which("npm") is not None:
            environments.node_sdk(())
    except StartError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("-t", "--template", type=click.Path(path_type=Path), help="The SAM template, or its folder.")
def env(template: Path | None) -> None:
    """Print the variables by which the AWS CLI and SDKs reach the emulator: eval "$(samsocket env)"."""
    try:
        click.echo(exports(find_template(template)), nl=False)
    except StartError as error:
        raise click.ClickException(str(error)) from error
