"""The commands for the operator of a stack: `cost`, `redrive`, `verify`, `user`, `logs` and `top`."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from operate.commands.options import Ago, deployment_option, short_path

if TYPE_CHECKING:
    from operate.deployment import Deployment


@click.command()
@click.option("--users", type=click.IntRange(1), default=1000, show_default=True, help="Users a day.")
@click.option("--listeners", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Their share.")
@click.option("--sessions", type=click.FloatRange(0, min_open=True), default=4, show_default=True, help="A user a day.")
@click.option("--minutes", type=click.FloatRange(0, 1440), default=30, show_default=True, help="Minutes a session.")
@click.option(
    "--watched",
    type=click.FloatRange(0),
    default=20,
    show_default=True,
    help="Listeners that a client of ours watches. The documented clients hear everybody.",
)
@click.option("--calls", type=click.FloatRange(0), default=0.5, show_default=True, help="Calls a user and day.")
@click.option("--notifications", type=click.FloatRange(0), default=2, show_default=True, help="To a user a day.")
@click.option(
    "--snapstart", type=click.Choice(["none", "clients", "all"]), default="none", help="The template's SnapStart."
)
@click.option("--compare", is_flag=True, help="Print what other services charge for the same day.")
def cost(*, snapstart: str, compare: bool, **day: float) -> None:
    """Print what a marketplace costs a month on AWS, computed from the measured use of the functions.

    Both for the documented clients (four sockets, a ping each 30 s, no `watch`) and for our own (one socket, `watch`, a
    ping after a silence).
    """
    from operate.cost import read
    from operate.cost_clients import DOCUMENTED, Market, is_deliverable, month, own, total
    from operate.cost_compare import table

    measured, market = read(), Market(**day)
    if compare:
        click.echo(table(measured, market))
        return
    clients = (DOCUMENTED, own())
    bills = [month(measured, market, client, snapstart) for client in clients]
    click.echo(f"{'':<32}" + "".join(f"{client.name:>34}" for client in clients))
    for parts in zip(*bills, strict=True):
        click.echo(f"{parts[0].what:<32}" + "".join(f"{part.count:>18,.0f}{part.dollars:>14,.2f} $" for part in parts))
    sums = [total(bill) for bill in bills]
    click.echo(f"{'a month, us-east-1':<32}" + "".join(f"{each:>32,.2f} $" for each in sums))
    click.echo(f"{'a user and day':<32}" + "".join(f"{each / market.users / 30:>32.5f} $" for each in sums))
    for client in clients:
        if not is_deliverable(market, client):
            click.echo(f"The default quota of 10,000 requests a second does not carry {client.name} (docs/scale.md).")


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option(
    "--rejected",
    is_flag=True,
    help="Also process again the events that did not fit their schema.",
)
@deployment_option
def redrive(deployment: Deployment, *, dry_run: bool, rejected: bool) -> None:
    """Process events again that the service gave up on: events of backends, and batches of broadcast and announce.

    Batches can be read again from their stream for 24 hours. Exits with 1 if anything stays in a queue.
    """
    from operate.requeue import put_through

    nothing, left = True, False
    for step in put_through(deployment, dry_run=dry_run, rejected=rejected):
        click.echo(step.text)
        nothing, left = False, left or step.left
    if nothing:
        click.echo("Nothing was given up on.")
    sys.exit(1 if left else 0)


@click.command()
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("verify-report.json"),
    show_default=True,
    help="Where the report is written. It holds no secret and no account number.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="KEY",
    help="Check only the lines whose keys in the report begin so, such as door or tell.",
)
@click.option("--everyone", is_flag=True, help="Send a system_notification to all connections.")
@click.option(
    "--slow", is_flag=True, help="Check whether protocol pings keep a connection open; takes 11 minutes more."
)
@click.option(
    "--patience",
    type=click.FloatRange(min=1),
    default=25,
    show_default=True,
    metavar="SECONDS",
    help="How long a message may take, a cold start included.",
)
@click.option("--probe-changes", is_flag=True, help="Make and remove an API mapping of the domain.")
@deployment_option
def verify(
    deployment: Deployment,
    report_file: Path,
    only: tuple[str, ...],
    *,
    everyone: bool,
    slow: bool,
    patience: float,
    probe_changes: bool,
) -> None:
    """Check that a stack does what it should. Exits with 1 if it does not.

    docs/verify.md says what is checked, what is made and removed, and the rights that are needed.
    """
    from operate.verify import command
    from operate.verify.report import dump
    from operate.verify.run import Options

    options = Options(everyone=everyone, slow=slow, probe_changes=probe_changes, patience_seconds=patience)
    try:
        outcome = asyncio.run(command.verify(deployment, options, click.echo, only))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("Stopped.")
        sys.exit(130)
    report_file.write_text(dump(outcome.report), encoding="utf-8")
    counts = ", ".join(f"{count} {name}" for name, count in outcome.report["counts"].items())
    click.echo(f"{counts} in {outcome.report['seconds']:.0f} s. The report is in {short_path(report_file)}")
    sys.exit(0 if outcome.is_good else 1)


@click.command()
@click.argument("user_id", metavar="USER")
@deployment_option
def user(deployment: Deployment, user_id: str) -> None:
    """Show what is stored about a USER: connections, leases, calls, version, blocks and last events."""
    from operate.inspection import inspect

    outputs = deployment.outputs
    found = inspect(
        deployment.clients.dynamodb(),
        user_id,
        connections=outputs["ConnectionsTableName"],
        users=outputs["UsersTableName"],
        blocks=outputs["BlocksTableName"],
        events=outputs["EventsTableName"],
    )
    for line in found.lines(int(time.time())):
        click.echo(line)


@click.command()
@click.argument("function", required=False)
@click.option("--follow", is_flag=True, help="Go on printing as more is logged.")
@click.option("--since", "ago_s", type=Ago(), default="1h", show_default=True, help="How far back: 90s, 15m, 2h or 7d.")
@deployment_option
def logs(deployment: Deployment, function: str | None, *, follow: bool, ago_s: float) -> None:
    """Print the logs of all functions, or of one FUNCTION."""
    from operate.logs import LogReader, log_groups

    groups = log_groups(deployment.outputs)
    if function is not None and function not in groups:
        raise click.BadParameter(
            f"there is no function {function}; there are: {', '.join(groups)}", param_hint="FUNCTION"
        )
    wanted = {function: groups[function]} if function else groups
    reader = LogReader(deployment.clients.logs(), wanted, int((time.time() - ago_s) * 1000))
    with suppress(KeyboardInterrupt):
        for lines in reader.follow() if follow else [reader.read()]:
            for line in lines:
                moment = datetime.fromtimestamp(line.milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
                click.echo(f"{moment.replace('+00:00', 'Z')} {line.function:14} {line.text}")


@click.command()
@click.option("--once", is_flag=True, help="Print one frame and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one frame as a line of JSON and end.")
@click.option(
    "--every",
    type=click.FloatRange(1),
    help="Seconds between frames.  [default: 2; 30 for a stack in the cloud, where a frame costs $0.0012]",
)
@deployment_option
def top(deployment: Deployment, *, once: bool, as_json: bool, every: float | None) -> None:
    """Show what a stack does now: connections, events, lateness, queues and alarms. Ctrl-C ends it."""
    from rich.console import Console
    from rich.live import Live

    from operate.top.frame import draw
    from operate.top.measures import FromCloudWatch, FromLogs
    from operate.top.state import StackObserver, as_json_line

    source = (
        FromLogs(deployment.log_reader(int((time.time() - 60) * 1000)))
        if deployment.is_embedded
        else FromCloudWatch(deployment.clients.client("cloudwatch"), deployment.stack)
    )
    observer = StackObserver(deployment, source, time.time)
    if as_json:
        click.echo(as_json_line(observer.look()))
        return
    console = Console(highlight=False)
    if once:
        console.print(draw(observer.look()))
        return
    pause_s = every or (2.0 if deployment.is_embedded else 30.0)
    with suppress(KeyboardInterrupt), Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            live.update(draw(observer.look()), refresh=True)
            time.sleep(pause_s)
