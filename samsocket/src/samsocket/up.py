"""`samsocket up`: everything that a template's WebSocket APIs need, from one command to Ctrl-C.

The order of a start: read the template, start the emulator and build meanwhile, deploy, listen. While it runs, a change
of code renews the processes of its function, and a change of the template the stack; connections stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from samsocket.aws_names import AwsNames
from samsocket.deployer import STACK, Deployer
from samsocket.emulation import ministack
from samsocket.emulation.deployment import Account
from samsocket.environments import Environments, authority, home
from samsocket.errors import NoWebSocketApiError, StartError
from samsocket.functions.commands import Host
from samsocket.functions.local import LocalEmulator
from samsocket.functions.pool import Pool
from samsocket.installing import host_of
from samsocket.ports import free_port
from samsocket.project import parameters
from samsocket.project.expansion import find_template, read_project
from samsocket.project.sources import functions
from samsocket.project.strictness import findings
from samsocket.reading import read_apis
from samsocket.resolver import Resolver
from samsocket.server import Gateway
from samsocket.settings import Settings
from samsocket.shell import folder_of, told
from samsocket.template import Template, being_read
from samsocket.tls import Authority
from samsocket.watching import Changed, Watching

if TYPE_CHECKING:
    from samsocket.api import WebSocketApi
    from samsocket.project.expansion import Project
    from samsocket.terminal import Terminal


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run, and how. `debugged` is a port by the logical id of a function.

    With `enforces_iam`, functions have the rights of their roles and no others; with `strict`, a template that AWS
    refuses is refused.
    """

    template: Path | None = None
    port: int = 3001
    overrides: tuple[str, ...] = ()
    region: str = "us-east-1"
    watch: bool = True
    enforces_iam: bool = False
    strict: bool = False
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
        self._project = self._read()
        if unknown := options.debugged.keys() - functions(self._project).keys():
            raise StartError(f"--debug-function {', '.join(unknown)}: one of {', '.join(functions(self._project))}")
        self._environments = Environments(home(), self._say)
        self._gateway: Gateway | None = None

    def _read(self) -> Project:
        """Return the project as its files are now.

        Raises:
            StartError: it cannot be run, or AWS refuses it, and strictness is asked for.
        """
        region = self._options.region
        with being_read(self._path):
            project = read_project(self._path, self._parameters, region)
            if not _has_a_websocket_api(Template(project.expanded)):
                raise NoWebSocketApiError(str(self._path))
            if self._options.strict and (found := findings(project, self._parameters, region, STACK)):
                listed = "\n".join(f"  {finding}" for finding in found)
                raise StartError(f"AWS refuses {self._path}:\n{listed}")
        return project

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
        python = await asyncio.to_thread(self._environments.ministack)
        program = ministack.program(python, account, emulator_port, scratch, enforces_iam=options.enforces_iam)
        attending = asyncio.create_task(program.attend())
        tasks.create_task(_attend(attending))
        try:
            with self._terminal.step("starting"):
                host, _ = await asyncio.gather(installing, ministack.answers(account))
            async with AsyncExitStack() as exits:
                region = {"AWS_REGION": options.region, "AWS_DEFAULT_REGION": options.region}
                exits.enter_context(told(self._path, account.variables | region))
                pool = await exits.enter_async_context(Pool(host, self._terminal.function))
                deployer = Deployer(
                    account,
                    pool,
                    host,
                    self._environments,
                    self._terminal,
                    scratch=scratch,
                    build=folder_of(self._path) / "built",
                    enforces_iam=options.enforces_iam,
                )
                emulator = await exits.enter_async_context(LocalEmulator(account, pool))
                aws_names = await exits.enter_async_context(AwsNames(account.endpoint_url))
                await self._serve(deployer, emulator, aws_names, port, exits)
        finally:
            attending.cancel()

    def _host(self, account: Account, port: int) -> Host:
        """Return what all functions share, once it is installed."""
        own = Authority(authority())
        self._tls = own.server_context()
        return host_of(
            self._project,
            account,
            self._environments,
            own,
            port=port,
            debugged=self._options.debugged,
            say=self._say,
        )

    async def _serve(
        self, deployer: Deployer, emulator: LocalEmulator, aws_names: AwsNames, port: int, exits: AsyncExitStack
    ) -> None:
        await deployer.prepare(self._project)
        with self._terminal.step("deploying to the emulator"):
            resolver, not_served = await deployer.deploy(self._project, self._parameters)
        await self._listen(resolver, emulator, aws_names, port, exits)
        for line in not_served:
            self._say(line)
        self._say("Ctrl-C ends it.")
        if not self._options.watch:
            await asyncio.Event().wait()
        async with Watching() as watching:
            watching.look_at(self._project.templates, deployer.found.values())
            while True:
                changed = await watching.changed()
                with self._terminal.errors():
                    await self._renew(changed, deployer, watching)

    async def _renew(self, changed: Changed, deployer: Deployer, watching: Watching) -> None:
        """Take over a change of files."""
        if changed.template:
            self._project = await asyncio.to_thread(self._read)
        await deployer.prepare(self._project)
        watching.look_at(self._project.templates, deployer.found.values())
        if changed.template:
            resolver, not_served = await deployer.deploy(self._project, self._parameters)
            if self._gateway is not None:
                self._gateway.adopt(self._apis(resolver))
            for line in not_served:
                self._say(line)
        deployer.renew(changed.sources)
        self._say(f"renewed: {', '.join(sorted(changed.sources)) or 'the template'}")

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

    def _apis(self, resolver: Resolver) -> list[WebSocketApi]:
        """Read the APIs, and name each resource that the gateway cannot serve as AWS would."""
        with being_read(self._path):
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
