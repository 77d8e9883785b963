"""The console script `realtime`: runs the embedded stack, and talks to it or to one in the cloud."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from operate.errors import LocalError
from operate.state import PRIVATE, ROOT, Running, StateFolder

if TYPE_CHECKING:
    from local.stack import EmbeddedStack
    from operate.deployment import Deployment

# Imports stand inside the commands: botocore, aiohttp and jwt take half a second, which most commands need not spend.

DEFAULT_STATE = ROOT / ".realtime"
STOP_SECONDS = 30.0
ENDPOINTS = ("feed", "presence", "calls", "notifications")


class _Commands(click.Group):
    """Shows what went wrong as one message, not as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LocalError as error:
            raise click.ClickException(str(error)) from error


def _state_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--state",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="REALTIME_STATE",
        default=DEFAULT_STATE,
        show_default=".realtime",
        show_envvar=True,
        callback=lambda _ctx, _option, path: StateFolder(path),
        help="The embedded stack's folder. Another folder is another stack.",
    )(command)


def _deployment_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command a `deployment`: a named stack in the cloud, or the embedded one."""

    @functools.wraps(command)
    def with_deployment(*, stack: str | None, folder: StateFolder, **arguments: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        from operate.deployment import Deployment

        try:
            deployment = Deployment.in_cloud(stack) if stack else Deployment.embedded(folder.ready())
            command(deployment=deployment, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise LocalError(str(error)) from error

    return _state_option(
        click.option(
            "--stack",
            metavar="NAME",
            envvar="REALTIME_STACK",
            show_envvar=True,
            help="A stack in the cloud, by your AWS credentials and Region, in place of the embedded one.",
        )(with_deployment)
    )


def _token_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--scope", metavar="ENDPOINTS", help="Endpoints it is good for, separated by spaces; all if absent."
        ),
        click.option("--role", help='Listeners are announced on the feed: "listener".'),
        click.option("--username", help="The name that others see."),
        click.option("--ttl", type=float, default=3600, show_default=True, help="Seconds until it expires."),
    ):
        command = option(command)
    return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """Run the service on this machine, and talk to it, or to a stack of it in the cloud."""


# ---- the embedded stack ---------------------------------------------------------------------------------------------


def _parameters(_ctx: click.Context, _option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair} is not NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="WebSockets; 0: a free one."
)
@click.option("--aws-port", type=click.IntRange(0, 65535), default=0, help="The AWS emulator.  [default: a free one]")
@click.option(
    "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", callback=_parameters, help="Of the template."
)
@click.option("--detach", is_flag=True, help="Return when it is ready, and leave it running.")
@_state_option
def up(folder: StateFolder, *, port: int, aws_port: int, parameters: dict[str, str], detach: bool) -> None:
    """Start the whole service on this machine; Ctrl-C ends it."""
    if detach:
        _up_detached(folder, sys.argv[1:])
        return
    from local.stack import EmbeddedStack, Options

    began = time.monotonic()
    with folder.held():
        stack = EmbeddedStack(folder, Options(port, aws_port, parameters), click.echo)
        click.echo(f"Starting {stack.running.stack}; logs are in {_shown(folder.logs)}")

        def when_ready(running: Running) -> None:
            click.echo(_welcome(running, folder, time.monotonic() - began))

        asyncio.run(_until_told(stack, when_ready))
    click.echo("Stopped.")


async def _until_told(stack: EmbeddedStack, when_ready: Callable[[Running], None]) -> None:
    """Run a stack until a signal asks for its end."""
    running = asyncio.create_task(stack.run(when_ready))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


def _up_detached(folder: StateFolder, arguments: list[str]) -> None:
    """Start the same command without `--detach`, show what it says until it is ready, and leave it.

    Raises:
        LocalError: it ended before it was ready, and has said why.
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
    command = "realtime" if shutil.which("realtime") == str(name.absolute()) else _shown(name)
    detail = '{"call_id": 456, "user_id": 123, "listener_id": 789, "call_type": "audio", "status": "ongoing"}'
    lines = [
        "",
        f"Ready after {seconds:.1f} s.",
        f"  Page         {running.page_url}",
        f"  WebSockets   {running.websocket_url}/{{{','.join(ENDPOINTS)}}}?token=…",
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


def _shown(path: Path) -> str:
    """A path as short as a person would write it."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


@main.command()
@_state_option
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
            os.kill(holder, signal.SIGKILL)  # its programs end with it
        time.sleep(0.05)
    click.echo("Stopped.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_state_option
def status(folder: StateFolder, *, as_json: bool) -> None:
    """Tell whether the embedded stack runs, and where; exit with 1 if it is not ready."""
    running = folder.read()
    facts = running.shown() if running else {"state": "stopped" if folder.holder() is None else "starting"}
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for key, value in facts.items():
            if isinstance(value, str | int):
                click.echo(f"{key:17} {value}")
    sys.exit(0 if facts["state"] == "ready" else 1)


@main.command()
@_state_option
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


# ---- a stack, embedded or in the cloud ------------------------------------------------------------------------------


@main.command()
@click.option("--user", required=True, help="The user's id.")
@_token_options
@_deployment_option
def token(deployment: Deployment, user: str, **claims: Any) -> None:
    """Print a token for a user, signed with the stack's own secret."""
    from operate import tokens

    click.echo(tokens.sign(deployment.token_keys(), user, **claims))


@main.command()
@click.argument("detail_type", metavar="TYPE")
@click.option(
    "--detail", default="{}", show_default=True, help='The event\'s detail, as JSON; "-" reads it from standard input.'
)
@click.option("--source", default="realtime-cli", show_default=True, help="Who says so.")
@_deployment_option
def publish(deployment: Deployment, detail_type: str, detail: str, source: str) -> None:
    """Put an event of TYPE on the bus, as a backend does; prints the event's id."""
    text = sys.stdin.read() if detail == "-" else detail
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--detail") from error
    click.echo(deployment.publish(detail_type, text, source))


@main.command()
@click.argument("endpoint", type=click.Choice(ENDPOINTS))
@click.option("--user", help="Connect as this user.")
@click.option("--token", "given", help="Connect with this token.")
@click.option("--types", metavar="A,B", help="Hear only these types of messages.")
@click.option("--watch", metavar="1,2", help="Hear only of these users.")
@click.option("--batch", is_flag=True, help="Let the service put several messages in one frame.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@_token_options
@_deployment_option
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
    """Connect to an ENDPOINT and print what is heard, one JSON message a line."""
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


@main.command()
@click.option("--users", type=click.IntRange(1), default=1000, show_default=True, help="Users a day.")
@click.option("--sessions", type=click.IntRange(1), default=4, show_default=True, help="Sessions a user and day.")
@click.option("--minutes", type=click.IntRange(1, 1440), default=30, show_default=True, help="Minutes a session.")
@click.option(
    "--ping", type=click.IntRange(0), default=30, show_default=True, help="Seconds between pings; 0 for none."
)
@click.option(
    "--watchers",
    type=click.IntRange(0),
    show_default="all who are online: none of them watches",
    help="How many connections hear each coming and going.",
)
@click.option("--calls", type=click.FloatRange(0), default=0, help="Calls a user and day.")
@click.option("--notifications", type=click.FloatRange(0), default=0, help="Notifications to a user a day.")
@click.option(
    "--snapstart", type=click.Choice(["none", "clients", "all"]), default="none", help="The template's SnapStart."
)
def cost(
    users: int,
    sessions: int,
    minutes: int,
    ping: int,
    watchers: int | None,
    calls: float,
    notifications: float,
    snapstart: str,
) -> None:
    """Print what a workload costs a month on AWS, from what the functions were measured to take."""
    from operate.cost import Workload, bill, read

    load = Workload(sessions, minutes, ping, watchers or 0, calls, notifications)
    if watchers is None:
        load = replace(load, watchers=round(load.online(users)))
    lines = list(bill(read(), load, users, snapstart))
    for line in lines:
        click.echo(f"{line.what:<32}{line.count:>18,.0f}{line.dollars:>14,.2f} $")
    total = sum(line.dollars for line in lines)
    click.echo(f"{'a month, us-east-1':<50}{total:>14,.2f} $")
    click.echo(f"{'a user and day':<50}{total / users / 30:>14.5f} $")


@main.command()
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option("--rejected", is_flag=True, help="Also the events that broke their schema, which may fit it by now.")
@_deployment_option
def redrive(deployment: Deployment, *, dry_run: bool, rejected: bool) -> None:
    """Put through again what was given up on: events of backends, and what broadcast and announce could not do.

    Streams are read again for 24 hours. Exits with 1 if anything had to be left.
    """
    from operate.requeue import put_through

    nothing, left = True, False
    for step in put_through(deployment, dry_run=dry_run, rejected=rejected):
        click.echo(step.text)
        nothing, left = False, left or step.left
    if nothing:
        click.echo("Nothing was given up on.")
    sys.exit(1 if left else 0)


@main.command()
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("verify-report.json"),
    show_default=True,
    help="Where the report is written; it holds no secret and no account's number.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="KEY",
    help="Look at these alone, by how their keys in the report begin: door, tell.",
)
@click.option("--everyone", is_flag=True, help="Send a system_notification to everyone who is connected.")
@click.option("--slow", is_flag=True, help="See whether protocol pings keep a connection: 11 minutes more.")
@click.option("--probe-changes", is_flag=True, help="Make and remove an API mapping of the domain.")
@_deployment_option
def verify(
    deployment: Deployment,
    report_file: Path,
    only: tuple[str, ...],
    *,
    everyone: bool,
    slow: bool,
    probe_changes: bool,
) -> None:
    """See whether a stack does what it should; exit with 1 if it does not.

    docs/verify.md says what it looks at, what it makes and removes, and the rights that it needs.
    """
    from operate.verify import command
    from operate.verify.report import dump
    from operate.verify.world import Options

    options = Options(everyone=everyone, slow=slow, probe_changes=probe_changes)
    try:
        outcome = asyncio.run(command.verify(deployment, options, click.echo, only))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("Stopped.")
        sys.exit(130)
    report_file.write_text(dump(outcome.report), encoding="utf-8")
    counts = ", ".join(f"{count} {name}" for name, count in outcome.report["counts"].items())
    click.echo(f"{counts} in {outcome.report['seconds']:.0f} s. The report is in {_shown(report_file)}")
    sys.exit(0 if outcome.is_good else 1)


@main.command()
@click.argument("user_id", metavar="USER")
@_deployment_option
def user(deployment: Deployment, user_id: str) -> None:
    """Show what is known of a USER: connections, leases, calls, version and last events."""
    from operate.inspection import inspect

    outputs = deployment.outputs
    found = inspect(
        deployment.clients.dynamodb(),
        user_id,
        connections=outputs["ConnectionsTableName"],
        users=outputs["UsersTableName"],
        events=outputs["EventsTableName"],
    )
    for line in found.lines(int(time.time())):
        click.echo(line)


@main.command()
@click.argument("function", required=False)
@click.option("--follow", is_flag=True, help="Go on as more comes.")
@_deployment_option
def logs(deployment: Deployment, function: str | None, *, follow: bool) -> None:
    """Print what the functions logged, or one FUNCTION alone."""
    from operate.logs import LogReader, log_groups

    groups = log_groups(deployment.outputs)
    if function is not None and function not in groups:
        raise click.BadParameter(
            f"there is no function {function}; there are: {', '.join(groups)}", param_hint="FUNCTION"
        )
    reader = LogReader(deployment.clients.logs(), {function: groups[function]} if function else groups)
    with suppress(KeyboardInterrupt):
        for lines in reader.follow() if follow else [reader.read()]:
            for line in lines:
                moment = datetime.fromtimestamp(line.milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
                click.echo(f"{moment.replace('+00:00', 'Z')} {line.function:14} {line.text}")


if __name__ == "__main__":
    main(prog_name="realtime")
