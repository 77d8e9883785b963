"""`samsocket serve --template template.yaml --stack realtime --endpoint-url http://127.0.0.1:4566`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samsocket import stack as stacks
from samsocket.activity import Activity, problems_shown
from samsocket.emulator import Emulator
from samsocket.errors import StartError
from samsocket.fallback import Fallback
from samsocket.options import page_option, settings_of, settings_options
from samsocket.reading import read_api, read_apis
from samsocket.resolver import Resolver
from samsocket.server import Gateway
from samsocket.template import Template, being_read

if TYPE_CHECKING:
    from samsocket.api import WebSocketApi

_logger = logging.getLogger(__name__)


@click.command("serve", context_settings={"show_default": True})
@click.option("--template", type=click.Path(path_type=Path), default="template.yaml", help="The SAM template.")
@click.option("--stack", required=True, help="The name under which it was deployed.")
@click.option("--api", "logical_id", help="Serve this one alone, by its logical id.")
@click.option("--endpoint-url", envvar="AWS_ENDPOINT_URL", required=True, help="The emulator.")
@click.option("--region", envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], default="us-east-1")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="Another name, beside localhost, by which clients reach the gateway.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, help="0 takes a free one.")
@click.option("--url-prefix", default="ws/", help="The part of a custom domain's mapping keys before the stage.")
@click.option(
    "--fallback",
    "fallback_url",
    metavar="URL",
    help="Server that answers requests for no stage, such as those for a page.",
)
@click.option("--concurrency", type=click.IntRange(1), default=8, help="Invocations of one function at a time.")
@settings_options
@page_option
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO")
def serve(
    template: Path,
    stack: str,
    logical_id: str | None,
    endpoint_url: str,
    region: str,
    host: str,
    hosts: tuple[str, ...],
    port: int,
    url_prefix: str,
    fallback_url: str | None,
    concurrency: int,
    log_level: str,
    *,
    has_page: bool,
    **limits: Any,
) -> None:
    """Serve a deployed template's WebSocket API as API Gateway does.

    Prints a line for each API once it listens. Signs its calls with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    (test, test).
    """
    logging.basicConfig(level=log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    credentials = {
        "access_key": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
        "secret_key": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
    }
    settings, activity = settings_of(limits), Activity() if has_page else None
    try:
        parsed = Template.read(template)
        deployed = stacks.describe(stack, endpoint_url=endpoint_url, region=region, **credentials)
        resolver = Resolver(parsed, deployed)
        with being_read(template):
            apis = (
                read_apis(parsed, deployed, resolver, name=str(template))
                if logical_id is None
                else [read_api(parsed, deployed, resolver, name=str(template), logical_id=logical_id)]
            )
        emulator = Emulator(endpoint_url, region=region, concurrency=concurrency, **credentials)
        fallback = Fallback(fallback_url) if fallback_url else None
        gateway = Gateway(
            apis,
            emulator,
            settings,
            url_prefix=url_prefix,
            fallback=fallback,
            hosts=(host, *hosts),
            activity=activity,
        )
        with problems_shown(activity) if activity is not None else nullcontext():
            asyncio.run(_serve(gateway, apis, emulator, fallback, host=host, port=port, url_prefix=url_prefix))
    except StartError as error:
        raise click.ClickException(str(error)) from error


async def _serve(
    gateway: Gateway,
    apis: list[WebSocketApi],
    emulator: Emulator,
    fallback: Fallback | None,
    *,
    host: str,
    port: int,
    url_prefix: str,
) -> None:
    """Serve until SIGINT or SIGTERM."""
    for note in (note for api in apis for note in api.notes):
        _logger.warning("%s", note)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with emulator, fallback or nullcontext(), gateway:
        bound = await gateway.listen(host, port)
        for line in _lines(apis, f"ws://{host}:{bound}/{url_prefix}"):
            click.echo(line)
        await stop.wait()


def _lines(apis: list[WebSocketApi], url: str) -> list[str]:
    """Return a line for each API, which says how its stages are reached."""
    if len(apis) == 1:
        return [f"gateway ready: {url}{{stage}} for {', '.join(sorted(apis[0].stages))}"]
    base = "/".join(url.split("/")[:3])
    return [f"gateway ready: {base}/{api.name}/{{stage}} for {', '.join(sorted(api.stages))}" for api in apis]
