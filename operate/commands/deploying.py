"""The commands that change a deployed stack: `apply`, which `make deploy` ends with, and `rollback`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from operate.commands.options import deployment_option

if TYPE_CHECKING:
    from operate.deployment import Deployment


@click.command()
@click.option("--env", "environment", default="default", show_default=True, help="The section of samconfig.toml.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--allow-loss", is_flag=True, help="With --yes: also where tables, queues or the API are lost.")
def apply(*, environment: str, yes: bool, allow_loss: bool) -> None:
    """Show in plain words what a deployment changes, ask, deploy, and delete versions that nobody goes back to.

    `make deploy` runs it after `sam deploy --no-execute-changeset`. Exits with 1 if you decline or it fails.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from operate import changes, updating, versions
    from operate.deployment import Clients, stack_outputs
    from operate.errors import CommandError

    clients = Clients.in_cloud()
    stack = updating.stack_of(environment)
    try:
        update = updating.Update(clients.cloudformation(), stack)
        if not update:
            click.echo(f"{stack}: nothing changes.")
            return
        found = update.changes()
        click.echo(f"The deployment of {stack} in {clients.region}:")
        for line in changes.told(found):
            click.echo(line)
        loses = any(each.is_loss for each in found)
        if not _agreed(stack, loses=loses, yes=yes, allow_loss=allow_loss):
            update.discard()
            click.echo("Nothing was changed.")
            sys.exit(1)
        for line in update.apply():
            click.echo(line)
        functions = clients.functions()
        for line in versions.prune(functions, list(versions.functions(functions, stack_outputs(clients, stack)))):
            click.echo(f"  {line}")
    except (BotoCoreError, ClientError) as error:
        raise CommandError(str(error)) from error
    click.echo(f"{stack} is deployed. Take it back with: realtime rollback --stack {stack}")


def _agreed(stack: str, *, loses: bool, yes: bool, allow_loss: bool) -> bool:
    """Ask whether to go on. What would be lost must be agreed to by the stack's name, or by an option of its own."""
    if yes:
        if loses and not allow_loss:
            click.echo("Lines with ! lose data. Add --allow-loss if that is meant.")
        return allow_loss or not loses
    try:
        if not loses:
            return click.confirm("Deploy it?")
        question = "Lines with ! lose data. Type the stack's name to go on"
        return bool(click.prompt(question, default="", show_default=False) == stack)
    except click.Abort:  # Ctrl-C, or nobody there to answer
        click.echo()
        return False


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@deployment_option
def rollback(deployment: Deployment, *, dry_run: bool) -> None:
    """Take the last deployment back: all functions run the versions before it, within seconds.

    A deployment that still runs is cancelled: CloudFormation then brings back what was.
    """
    from operate import updating, versions

    cloudformation, functions = deployment.clients.cloudformation(), deployment.clients.functions()
    if updating.status_of(cloudformation, deployment.stack) == "UPDATE_IN_PROGRESS":
        if not dry_run:
            cloudformation.cancel_update_stack(StackName=deployment.stack)
        click.echo(f"The deployment still runs; CloudFormation {'would take' if dry_run else 'takes'} it back.")
        return
    steps = versions.plan(
        list(versions.functions(functions, deployment.outputs)),
        updating.deployed_at(cloudformation, deployment.stack),
        deployment.outputs,
    )
    for line in map(str, steps) if dry_run else versions.go_back(functions, steps):
        click.echo(f"{'would lead ' if dry_run else ''}{line}")
    if not dry_run:
        click.echo("The stack's resources and $LATEST are as deployed: mend the fault, then run make deploy.")
