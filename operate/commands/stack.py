"""The commands on the embedded stack: `up`, `down`, `status` and `env`."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from operate.commands.options import DEFAULT_STATE, STAGES, short_path, state_option
from operate.state import PRIVATE, Running, StateFolder

if TYPE_CHECKING:
    from local.stack import EmbeddedStack

STOP_SECONDS = 30.0


def _parameters(_ctx: click.Context, _option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair} is not NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="WebSockets; 0: a free one."
)
@click.option("--aws-port", type=click.IntRange(0, 65535), default=0, help="The AWS emulator.  [default: a free one]")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_parameters,
    help="A parameter of the template, such as GracePeriodSeconds=20; may be given several times.",
)
@click.option("--detach", is_flag=True, help="Return when it is ready, and leave it running.")
@state_option
def up(folder: StateFolder, *, port: int, aws_port: int, parameters: dict[str, str], detach: bool) -> None:
    """Start the whole service on this machine. Ctrl-C ends it."""
    if detach:
        _up_detached(folder, sys.argv[1:])
        return
    from local.stack import EmbeddedStack, Options

    began = time.monotonic()
    with folder.held():
        stack = EmbeddedStack(folder, Options(port, aws_port, parameters), click.echo)
        click.echo(f"Starting {stack.running.stack}; logs are in {short_path(folder.logs)}")

        def when_ready(running: Running) -> None:
            click.echo(_welcome(running, folder, time.monotonic() - began))

        asyncio.run(_run_until_signal(stack, when_ready))
    click.echo("Stopped.")


async def _run_until_signal(stack: EmbeddedStack, when_ready: Callable[[Running], None]) -> None:
    """Run a stack until a signal asks for its end."""
    running = asyncio.create_task(stack.run(when_ready))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


def _up_detached(folder: StateFolder, arguments: list[str]) -> None:
    """Start the same command without `--detach`, print its output until the stack is ready, and leave it running.

    Raises:
        SystemExit: the command ended before the stack was ready; its output says why.
    """
    folder.path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    output = folder.path / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, sys.argv[0], *(word for word in arguments if word != "--detach")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    with output.open(encoding="utf-8") as log:
        try:
            while True:
                ended = process.poll() is not None
                running = folder.read()
                click.echo(log.read(), nl=False)
                if ended:
                    sys.exit(process.returncode or 1)
                if running is not None and running.state == "ready" and running.pid == process.pid:
                    return
                time.sleep(0.1)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise


def _welcome(running: Running, folder: StateFolder, seconds: float) -> str:
    name = Path(sys.argv[0])
    command = "realtime" if shutil.which("realtime") == str(name.absolute()) else short_path(name)
    detail = '{"call_id": 456, "user_id": 123, "listener_id": 789, "call_type": "audio", "status": "ongoing"}'
    lines = [
        "",
        f"Ready after {seconds:.1f} s.",
        f"  Page         {running.page_url}",
        f"  WebSockets   {running.websocket_url}/{{{','.join(STAGES)}}}?token=…",
        f"  Management   {running.management_url}/{{stage}}/@connections/{{id}}",
        f'  AWS emulator {running.aws_endpoint_url}, for boto3 and the AWS CLI after: eval "$({command} env)"',
        f"  Event bus    {running.bus}",
        "",
        "Try, in other terminals:",
        *([f"  export REALTIME_STATE={shlex.quote(str(folder.path))}"] if folder.path != DEFAULT_STATE else []),
        f"  {command} listen calls --user 123",
        f"  {command} publish call_started --detail '{detail}'",
        f"  {command} logs --follow",
        f"End it with Ctrl-C, or from anywhere with: {command} down",
    ]
    return "\n".join(lines)


@click.command()
@state_option
def down(folder: StateFolder) -> None:
    """End the embedded stack, wherever it was started."""
    holder = folder.holder()
    if holder is None:
        click.echo("Nothing runs.")
        return
    os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while folder.holder() is not None:
        if time.monotonic() > deadline:
            os.kill(holder, signal.SIGKILL)  # the stack's programs end with that process
        time.sleep(0.05)
    click.echo("Stopped.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@state_option
def status(folder: StateFolder, *, as_json: bool) -> None:
    """Show whether the embedded stack runs, and where. Exits with 1 if it is not ready."""
    running = folder.read()
    facts = running.public_fields() if running else {"state": "stopped" if folder.holder() is None else "starting"}
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for key, value in facts.items():
            if isinstance(value, str | int):
                click.echo(f"{key:17} {value}")
    sys.exit(0 if facts["state"] == "ready" else 1)


@click.command()
@state_option
def env(folder: StateFolder) -> None:
    """Print shell exports with which boto3 and the AWS CLI reach the embedded stack: eval "$(realtime env)"."""
    running = folder.ready()
    click.echo("unset AWS_PROFILE AWS_SESSION_TOKEN")
    for name, value in {
        "AWS_ENDPOINT_URL": running.aws_endpoint_url,
        "AWS_ACCESS_KEY_ID": running.access_key,
        "AWS_SECRET_ACCESS_KEY": running.secret_key,
        "AWS_REGION": running.region,
        "AWS_DEFAULT_REGION": running.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "REALTIME_BUS": running.bus,
        "REALTIME_WEBSOCKET_URL": running.websocket_url,
    }.items():
        click.echo(f"export {name}={shlex.quote(value)}")
