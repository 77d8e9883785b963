"""The commands about users: `who`, `connections` and `disconnect`, by the function `admin`, and `forget`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from operate.commands.options import deployment_option
from operate.errors import CommandError

if TYPE_CHECKING:
    from listener_realtime.admin import Admin
    from listener_realtime.messages import UserNow
    from operate.deployment import Deployment


@contextmanager
def _admin(deployment: Deployment) -> Iterator[Admin]:
    """Give the stack's function `admin`; what it refuses is an error of the command."""
    from listener_realtime.admin import Admin, AdminError

    function = deployment.outputs.get("AdminFunctionArn")
    if function is None:
        raise CommandError("This stack has no function admin: deploy this version of the service first.")
    try:
        yield Admin(deployment.clients.functions().invoke, function=function)
    except AdminError as problem:
        raise CommandError(str(problem)) from problem


@click.command()
@click.argument("user_ids", metavar="[USER]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@deployment_option
def who(deployment: Deployment, user_ids: tuple[str, ...], *, as_json: bool) -> None:
    """Show which of these USERs are online. Without any: how many users and connections there are.

    Counting reads all connections: a DynamoDB read unit for each 8 KB.
    """
    with _admin(deployment) as admin:
        if user_ids:
            users = admin.who(user_ids)
            click.echo(json.dumps(users) if as_json else "\n".join(map(_line, users)))
            return
        counts = admin.counts()
    if as_json:
        click.echo(json.dumps(counts))
        return
    click.echo(f"{'users online':16} {counts['users_online']}")
    click.echo(f"{'listeners online':16} {counts['listeners_online']}, {counts['listeners_busy']} of them busy")
    for stage, count in counts["connections"].items():
        click.echo(f"{'on ' + stage:16} {count}")


def _line(user: UserNow) -> str:
    state = "online" if user["is_online"] else "offline"
    busy = ", busy" if user["is_busy"] else ""
    return (
        f"{user['user_id']!s:16} {user['username'] or '-':20} {state}{busy}, connections: {user['connections']}, "
        f"last seen: {user['last_seen'] or 'never'}"
    )


@click.command()
@click.argument("user_id", metavar="USER")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@deployment_option
def connections(deployment: Deployment, user_id: str, *, as_json: bool) -> None:
    """Show the connections of a USER."""
    with _admin(deployment) as admin:
        found = admin.connections(user_id)
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        hears = f" ({', '.join(each['endpoints'])})" if each["stage"] == "live" else ""
        click.echo(
            f"{each['connection_id']} on {each['stage']}{hears}: since {each['connected_at']}, "
            f"last sign of life {each['alive_at']}"
        )
    if not found:
        click.echo(f"User {user_id} has no connection.")


@click.command()
@click.argument("user_id", metavar="[USER]", required=False)
@click.option("--connection", metavar="ID", help="Close this one connection, rather than all of a user.")
@click.option("--reason", help="What the clients are told.")
@click.option("--revoke", is_flag=True, help="Refuse the user's tokens that were issued until now, too.")
@deployment_option
def disconnect(
    deployment: Deployment, user_id: str | None, connection: str | None, reason: str | None, *, revoke: bool
) -> None:
    """Close all connections of a USER, or one. The clients are told AUTH_FAILED.

    Without --revoke, a token that they still have lets them in again.
    """
    if (user_id is None) == (connection is None):
        raise click.UsageError("Give either USER or --connection.")
    if revoke and user_id is None:
        raise click.UsageError("--revoke goes with USER.")
    with _admin(deployment) as admin:
        if connection is not None:
            closed = [connection] if admin.disconnect_one(connection, reason=reason) else []
        else:
            closed = admin.disconnect(str(user_id), reason=reason, revoke=revoke)
    for each in closed:
        click.echo(each)
    if not closed:
        click.echo("There is no such connection." if connection else f"User {user_id} has no connection.")


@click.command()
@click.argument("user_id", metavar="USER")
@click.option("--dry-run", is_flag=True, help="Count what would be erased, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@deployment_option
def forget(deployment: Deployment, user_id: str, *, dry_run: bool, yes: bool) -> None:
    """Erase all that the stack holds of a USER: connections, presence, blocks, history and failed messages.

    All tables are read. docs/operating.md says what it cannot reach, such as logs.
    """
    from operate.forgetting import FAILURES, Erasure
    from realtime.ids import parse_id
    from realtime.tables import TableNames

    try:
        user_id = parse_id(user_id)
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="USER") from problem
    outputs = deployment.outputs
    tables = TableNames(*(outputs[f"{name}TableName"] for name in ("Connections", "Users", "Events", "Blocks")))
    failures = {name: outputs[f"{name}QueueUrl"] for name in FAILURES}
    erasure = Erasure(deployment.clients.dynamodb(), deployment.clients.sqs(), tables, failures, user_id)
    if dry_run:
        click.echo(_counted(erasure.find(), "would be erased") or f"Nothing names user {user_id}.")
        return
    if not yes:
        click.confirm(f"Erase all that {deployment.stack} holds of user {user_id}? It cannot be undone.", abort=True)
    with _admin(deployment) as admin:
        admin.disconnect(user_id, reason="This account was deleted", revoke=True)
    erasure.wait_until_offline()
    click.echo(_counted(erasure.erase(), "erased") or f"Nothing names user {user_id}.")


def _counted(counts: Mapping[str, int], what: str) -> str:
    return "\n".join(f"{count:6} {name} {what}" for name, count in sorted(counts.items()))
