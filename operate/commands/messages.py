"""The commands that act as a client or a backend: `token`, `publish` and `listen`."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import click

from operate.commands.options import STAGES, deployment_option, token_options
from operate.errors import CommandError

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
@click.option("--key", metavar="KEY", help="An idempotency key: the service tells clients once of events with one key.")
@deployment_option
def publish(deployment: Deployment, detail_type: str, detail: str, source: str, key: str | None) -> None:
    """Put an event of TYPE on the bus, as a backend does, and print the event's id.

    An event that the service would refuse is not put there.
    """
    from listener_realtime import Event, InvalidEvent, NotPublished, Publisher

    text = sys.stdin.read() if detail == "-" else detail
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--detail") from error
    if not isinstance(whole, dict):
        raise click.BadParameter("not a JSON object", param_hint="--detail")
    if key is not None and isinstance(delivery := whole.get("delivery", {}), dict):  # another one is refused below
        whole["delivery"] = {**delivery, "idempotency_key": key}
    bus = deployment.outputs["BusName"]
    try:
        event = Event.read(detail_type, whole)
        (event_id,) = Publisher(deployment.clients.events().put_events, bus=bus, source=source).put(event)
    except (InvalidEvent, NotPublished) as problem:
        raise CommandError(str(problem)) from problem
    click.echo(event_id)


@click.command()
@click.argument("endpoint", type=click.Choice(STAGES))
@click.option("--user", help="Connect as this user.")
@click.option("--token", "given", help="Connect with this token.")
@click.option("--endpoints", metavar="A,B", help="With live: hear only these endpoints.")
@click.option("--types", metavar="A,B", help="Hear only these types of messages.")
@click.option("--watch", metavar="1,2", help="Hear only about these users.")
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
    endpoints: str | None,
    types: str | None,
    watch: str | None,
    **claims: Any,
) -> None:
    """Connect to an ENDPOINT, or to live for all, and print each message that comes, one line of JSON each.

    It acknowledges messages, and connects again after interruptions, as a client does.
    """
    from listener_realtime import Realtime
    from operate import tokens
    from operate.listening import messages

    if (user is None) == (given is None):
        raise click.UsageError("Give either --user or --token.")
    keys = {} if given else deployment.token_keys()
    named: Any = (_split(endpoints) or None) if endpoint == "live" else [endpoint]
    client = Realtime(
        deployment.websocket_url,
        lambda _anew: given or tokens.sign(keys, str(user), **claims),
        endpoints=named,
        one_socket=endpoint == "live",
        types=_split(types),
        watch=_split(watch),
    )

    async def print_messages() -> None:
        heard = 0
        notice = functools.partial(click.echo, err=True)
        async with aclosing(messages(client, notice, has_other_tokens=given is None)) as stream:
            async for message in stream:
                click.echo(json.dumps(message, ensure_ascii=False, separators=(",", ":")))
                heard += 1
                if heard == count:
                    return

    with suppress(KeyboardInterrupt):
        asyncio.run(print_messages())


def _split(text: str | None) -> list[str]:
    return [each for each in (text or "").split(",") if each]
