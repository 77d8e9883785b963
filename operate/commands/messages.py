"""The commands that act as a client or a backend: `token`, `publish` and `listen`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import click

from operate.commands.options import ENDPOINTS, deployment_option, token_options

if TYPE_CHECKING:
    from operate.deployment import Deployment


@click.command()
@click.option("--user", required=True, help="The user's id.")
@token_options
@deployment_option
def token(deployment: Deployment, user: str, **claims: Any) -> None:
    """Print a token for a user, signed with the stack's own secret."""
    from operate import tokens

    click.echo(tokens.sign(deployment.token_keys(), user, **claims))


@click.command()
@click.argument("detail_type", metavar="TYPE")
@click.option(
    "--detail", default="{}", show_default=True, help='The event\'s detail, as JSON; "-" reads it from standard input.'
)
@click.option("--source", default="realtime-cli", show_default=True, help="The source that the event names.")
@deployment_option
def publish(deployment: Deployment, detail_type: str, detail: str, source: str) -> None:
    """Put an event of TYPE on the bus, as a backend does, and print the event's id."""
    text = sys.stdin.read() if detail == "-" else detail
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--detail") from error
    click.echo(deployment.publish(detail_type, text, source))


@click.command()
@click.argument("endpoint", type=click.Choice(ENDPOINTS))
@click.option("--user", help="Connect as this user.")
@click.option("--token", "given", help="Connect with this token.")
@click.option("--types", metavar="A,B", help="Hear only these types of messages.")
@click.option("--watch", metavar="1,2", help="Hear only about these users.")
@click.option("--batch", is_flag=True, help="Let the service put several messages in one frame.")
@click.option("--count", type=click.IntRange(1), help="End after this number of messages.")
@token_options
@deployment_option
def listen(
    deployment: Deployment,
    endpoint: str,
    user: str | None,
    given: str | None,
    count: int | None,
    *,
    batch: bool,
    types: str | None,
    watch: str | None,
    **claims: Any,
) -> None:
    """Connect to an ENDPOINT and print each message that comes, one line of JSON each."""
    from operate import tokens
    from operate.listening import messages

    if (user is None) == (given is None):
        raise click.UsageError("Give either --user or --token.")
    query = {"token": given or tokens.sign(deployment.token_keys(), str(user), **claims)}
    query |= {name: value for name, value in (("types", types), ("watch", watch)) if value}
    query |= {"batch": "true"} if batch else {}

    async def print_messages() -> None:
        heard = 0
        async with aclosing(messages(f"{deployment.websocket_url}/{endpoint}", query)) as stream:
            async for message in stream:
                click.echo(json.dumps(message, ensure_ascii=False, separators=(",", ":")))
                heard += 1
                if heard == count:
                    return

    with suppress(KeyboardInterrupt):
        asyncio.run(print_messages())
