"""`samsocket up`: everything that a template's WebSocket APIs need, from one command to Ctrl-C.

The order of a start: read the template, start the emulator and build meanwhile, deploy, listen. While it runs, a change
of code renews the processes of its function, and a change of the template the stack; connections stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import signal
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from samsocket import stack as stacks
from samsocket.aws_names import AwsNames
from samsocket.emulation import ministack
from samsocket.emulation.deployment import Account, Deployment
from samsocket.environments import Environments, home
from samsocket.errors import NoWebSocketApiError, StartError
from samsocket.functions.commands import Host
from samsocket.functions.local import LocalEmulator
from samsocket.functions.pool import Pool
from samsocket.installing import host_of
from samsocket.ports import free_port
from samsocket.project import parameters
from samsocket.project.expansion import find_template, read_project
from samsocket.project.preparing import not_served, prepared
from samsocket.project.sources import Source, functions, specs
from samsocket.reading import read_apis
from samsocket.resolver import Resolver
from samsocket.server import Gateway
from samsocket.settings import Settings
from samsocket.shell import folder_of, told
from samsocket.template import Template
from samsocket.tls import Authority
from samsocket.watching import Changed, changes

if TYPE_CHECKING:
    from samsocket.api import WebSocketApi
    from samsocket.emulation.deployment import Deployed
    from samsocket.terminal import Terminal

_STACK: Final = "samsocket"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run, and how. `debugged` is a port by the logical id of a function."""

    template: Path | None = None
    port: int = 3001
    overrides: tuple[str, ...] = ()
    region: str = "us-east-1"
    watch: bool = True
    debugged: Mapping[str, int] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)


class Run:
    """One run of the tool."""

    def __init__(self, options: Options, terminal: Terminal) -> None:
        """Check what can be checked before anything is started.

        Raises:
            StartError: the template cannot be run, or the port is taken.
        """
        self._options, self._terminal = options, terminal
        self._say = terminal.say
        self._path = find_template(options.template)
        self._parameters = parameters.of_project(self._path.parent) | parameters.parse(options.overrides)
        self._project = read_project(self._path, self._parameters, options.region)
        if not _has_a_websocket_api(Template(self._project.expanded)):
            raise NoWebSocketApiError(str(self._path))
        if unknown := options.debugged.keys() - functions(self._project).keys():
            raise StartError(f"--debug-function {', '.join(unknown)}: one of {', '.join(functions(self._project))}")
        self._environments = Environments(home(), self._say)
        self._build = folder_of(self._path) / "built"
        self._gateway: Gateway | None = None

    async def go(self) -> None:
        """Run until SIGINT or SIGTERM.

        Raises:
            StartError: it does not start, or a part of it ended.
        """
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        scratch = Path(tempfile.mkdtemp(prefix="samsocket-"))
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(self._run(scratch, tasks))
                stopping = tasks.create_task(stop.wait())
                await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    self._say("ending …")
                running.cancel()
                stopping.cancel()
        except ExceptionGroup as group:
            raise _first(group) from group
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    async def _run(self, scratch: Path, tasks: asyncio.TaskGroup) -> None:
        options = self._options
        with free_port(options.port) as port, free_port(0) as emulator_port:
            account = Account.new(emulator_port, options.region)
        installing = tasks.create_task(asyncio.to_thread(self._host, account, port))
        emulator = await asyncio.to_thread(self._environments.ministack)
        attending = asyncio.create_task(ministack.program(emulator, account, emulator_port, scratch).attend())
        tasks.create_task(_attend(attending))
        try:
            with self._terminal.step("starting"):
                host, _ = await asyncio.gather(installing, ministack.answers(account))
            async with AsyncExitStack() as exits:
                region = {"AWS_REGION": options.region, "AWS_DEFAULT_REGION": options.region}
                exits.enter_context(told(self._path, account.variables | region))
                pool = await exits.enter_async_context(Pool(host, self._terminal.function))
                await self._serve(account, pool, host, port, scratch, exits)
        finally:
            attending.cancel()

    def _host(self, account: Account, port: int) -> Host:
        """Return what all functions share, once it is installed."""
        authority = Authority(home() / "authority")
        self._tls = authority.server_context()
        return host_of(
            self._project,
            account,
            self._environments,
            authority,
            port=port,
            debugged=self._options.debugged,
            say=self._say,
        )

    async def _serve(
        self, account: Account, pool: Pool, host: Host, port: int, scratch: Path, exits: AsyncExitStack
    ) -> None:
        deployment = Deployment(account, _STACK, self._say)
        found = await self._prepared(host, scratch)
        with self._terminal.step("deploying to the emulator"):
            deployed, resolver = await self._deploy(account, deployment, pool)
        pool.offer(specs(self._project, found, deployed.functions, resolver))
        emulator = await exits.enter_async_context(LocalEmulator(account, pool))
        aws_names = await exits.enter_async_context(AwsNames(account.endpoint_url))
        await self._listen(resolver, emulator, aws_names, port, exits)
        for line in not_served(self._project, deployed.left_out, found):
            self._say(line)
        self._say("Ctrl-C ends it.")
        if not self._options.watch:
            await asyncio.Event().wait()
        while True:
            async for changed in changes(self._path, found.values()):
                with self._terminal.errors():
                    found = await self._renewed(changed, account, deployment, pool, host, scratch)
                if changed.template:
                    break  # other folders may have to be watched

    async def _renewed(
        self, changed: Changed, account: Account, deployment: Deployment, pool: Pool, host: Host, scratch: Path
    ) -> dict[str, Source]:
        """Take over a change of files; return the folders of functions and layers."""
        if changed.template:
            self._project = await asyncio.to_thread(read_project, self._path, self._parameters, self._options.region)
        found = await self._prepared(host, scratch)
        if changed.template:
            deployed, resolver = await self._deploy(account, deployment, pool)
            pool.offer(specs(self._project, found, deployed.functions, resolver))
            self._adopt(resolver)
        layers = changed.sources - pool.functions
        for logical_id in pool.functions if layers else changed.sources:
            if pool.renew(logical_id):
                pool.warm(logical_id)
        names = ", ".join(sorted(changed.sources)) or "the template"
        self._say(f"renewed: {names}")
        return found

    async def _prepared(self, host: Host, scratch: Path) -> dict[str, Source]:
        return await prepared(
            self._project,
            self._build,
            scratch,
            host=host,
            environments=self._environments,
            terminal=self._terminal,
        )

    async def _deploy(self, account: Account, deployment: Deployment, pool: Pool) -> tuple[Deployed, Resolver]:
        deployed = await asyncio.to_thread(deployment.put, self._project, self._parameters, pool.invoke_url)
        described = await asyncio.to_thread(stacks.describe, _STACK, **dataclasses.asdict(account))
        return deployed, Resolver(Template(self._project.expanded), described)

    async def _listen(
        self, resolver: Resolver, emulator: LocalEmulator, aws_names: AwsNames, port: int, exits: AsyncExitStack
    ) -> None:
        """Serve all APIs on one port; a stage that several have is reached by the name of its API."""
        apis = self._apis(resolver)
        self._gateway = gateway = Gateway(
            apis, emulator, self._options.settings, url_prefix="", aws_names=aws_names, activity=self._terminal.activity
        )
        await exits.enter_async_context(gateway)
        bound = await gateway.listen("127.0.0.1", port, tls=self._tls)
        for api in apis:
            for stage in sorted(api.stages):
                url = f"ws://localhost:{bound}{gateway.addresses.path_of(api, stage)}"
                self._say(f"{api.name}, stage {stage}:  {url}\n  npx wscat -c {url}\n  samsocket connect {url}")
        if self._terminal.activity is not None:
            self._say(f"Connections, frames and logs:  http://localhost:{bound}/")

    def _adopt(self, resolver: Resolver) -> None:
        """Have the gateway serve what the template says now."""
        if self._gateway is not None:
            self._gateway.adopt(self._apis(resolver))

    def _apis(self, resolver: Resolver) -> list[WebSocketApi]:
        """Read the APIs, and name each resource that the gateway cannot serve as AWS would."""
        apis = read_apis(Template(self._project.expanded), resolver.stack, resolver, name=str(self._path))
        for note in (note for api in apis for note in api.notes):
            self._say(f"note: {note}")
        return apis


async def _attend(attending: asyncio.Task[None]) -> None:
    """Wait for the emulator's end, which is an error unless it is ours."""
    with contextlib.suppress(asyncio.CancelledError):
        await attending


def _has_a_websocket_api(template: Template) -> bool:
    return any(api.properties.get("ProtocolType") == "WEBSOCKET" for api in template.of_type("AWS::ApiGatewayV2::Api"))


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
