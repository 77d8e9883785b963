"""`samsocket up`: everything that a template's WebSocket APIs need, from one command to Ctrl-C.

The order of a start: read the template, start the emulator and build meanwhile, deploy, listen. While it runs, a change
of code renews the processes of its function, and a change of the template the stack; connections stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from samsocket import stack as stacks
from samsocket.aws_names import AwsNames
from samsocket.emulation import ministack
from samsocket.emulation.deployment import Account, Deployment
from samsocket.environments import Environments, home
from samsocket.errors import NoWebSocketApiError, StartError
from samsocket.functions.commands import Host
from samsocket.functions.local import LocalEmulator
from samsocket.functions.pool import Pool
from samsocket.functions.spec import family_of
from samsocket.ports import free_port
from samsocket.processes import Program, environment
from samsocket.project import building, parameters
from samsocket.project.expansion import find_template, read_project
from samsocket.project.sources import Source, functions, inline_code, sources, specs
from samsocket.project.strictness import findings
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
    from samsocket.project.expansion import Project
    from samsocket.terminal import Terminal

_STACK: Final = "samsocket"
_SERVED_BY_THE_GATEWAY: Final = ("AWS::ApiGatewayV2::", "AWS::Lambda::LayerVersion")
"""What is taken out of the deployed template and works all the same."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run, and how. `latency` in seconds; `debugged` is a port by the logical id of a function.

    With `enforces_iam`, functions have the rights of their roles and no others; with `strict`, a template that AWS
    refuses is refused.
    """

    template: Path | None = None
    port: int = 3001
    overrides: tuple[str, ...] = ()
    region: str = "us-east-1"
    watch: bool = True
    latency: float = 0.0
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
        if not _api_ids(Template(self._project.expanded)):
            raise NoWebSocketApiError(str(self._path))
        if unknown := options.debugged.keys() - functions(self._project).keys():
            raise StartError(f"--debug-function {', '.join(unknown)}: one of {', '.join(functions(self._project))}")
        self._environments = Environments(home(), self._say)
        self._build = folder_of(self._path) / "built"
        self._gateway: Gateway | None = None

    def _read(self) -> Project:
        """Return the project as its files are now.

        Raises:
            StartError: it cannot be run, or AWS refuses it, and strictness is asked for.
        """
        region = self._options.region
        project = read_project(self._path, self._parameters, region)
        if self._options.strict and (found := findings(project, self._parameters, region, _STACK)):
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
            account = Account(
                endpoint_url=f"http://127.0.0.1:{emulator_port}",
                region=options.region,
                access_key=f"AKIA{secrets.token_hex(8).upper()}",
                secret_key=secrets.token_urlsafe(30),
            )
        async with self._step("starting"):
            emulator, host = await asyncio.gather(
                asyncio.to_thread(self._environments.ministack), asyncio.to_thread(self._host, account, port)
            )
            program = ministack.program(emulator, account, emulator_port, scratch, enforces_iam=options.enforces_iam)
            attending = asyncio.create_task(program.attend())
            tasks.create_task(_attend(attending))
            await ministack.answers(account)
        try:
            async with AsyncExitStack() as exits:
                region = {"AWS_REGION": options.region, "AWS_DEFAULT_REGION": options.region}
                exits.enter_context(told(self._path, account.variables | region))
                pool = await exits.enter_async_context(Pool(host, self._terminal.function))
                await self._serve(account, pool, host, port, scratch, exits)
        finally:
            attending.cancel()

    def _host(self, account: Account, port: int) -> Host:
        """Return what all functions share, once it is installed."""
        options, found = self._options, functions(self._project)
        authority = Authority(home() / "authority")
        self._tls = authority.server_context()
        runtimes = {logical_id: str(properties.get("Runtime", "")) for logical_id, properties in found.items()}
        pythons = {
            runtime: self._environments.python(runtime, debugged=bool(options.debugged))
            for runtime in dict.fromkeys(runtimes.values())
            if family_of(runtime) == "python"
        }
        for runtime, python in pythons.items():
            if building.version_of(python) != runtime:
                self._say(f"{runtime} is not on this machine: its functions run on {building.version_of(python)}")
        nodes = [logical_id for logical_id, runtime in runtimes.items() if family_of(runtime) == "node"]
        sdk = None
        if nodes:
            if shutil.which("node") is None:
                raise StartError(f"node is not installed, which {', '.join(nodes)} need: install Node 20 or newer")
            sdk = self._environments.node_sdk(
                {self._project.code[each] for each in nodes if each in self._project.code}
            )
        return Host(
            port=port,
            region=options.region,
            aws=account.variables,
            authority=authority.bundle,
            own_authority=authority.certificate,
            pythons=pythons,
            sdk=sdk,
            debugged=options.debugged,
        )

    async def _serve(
        self, account: Account, pool: Pool, host: Host, port: int, scratch: Path, exits: AsyncExitStack
    ) -> None:
        deployment = Deployment(account, _STACK, self._say)
        found = await self._prepared(host, scratch)
        async with self._step("deploying to the emulator"):
            deployed, resolver = await self._deploy(account, deployment, pool)
        await self._offer(account, pool, found, deployed, resolver)
        emulator = await exits.enter_async_context(LocalEmulator(account, pool, latency=self._options.latency))
        aws_names = await exits.enter_async_context(AwsNames(account.endpoint_url))
        await self._listen(resolver, emulator, aws_names, port, exits)
        self._say_what_is_missing(deployed, found)
        self._say("Ctrl-C ends it.")
        if not self._options.watch:
            await asyncio.Event().wait()
        while True:
            async for changed in changes(self._project.templates, found.values()):
                with self._reported():
                    found = await self._renewed(changed, account, deployment, pool, host, scratch)
                if changed.template:
                    break  # other folders may have to be watched

    async def _renewed(
        self, changed: Changed, account: Account, deployment: Deployment, pool: Pool, host: Host, scratch: Path
    ) -> dict[str, Source]:
        """Take over a change of files; return the folders of functions and layers."""
        if changed.template:
            self._project = await asyncio.to_thread(self._read)
        found = await self._prepared(host, scratch)
        if changed.template:
            deployed, resolver = await self._deploy(account, deployment, pool)
            await self._offer(account, pool, found, deployed, resolver)
            self._adopt(resolver)
        layers = changed.sources - pool.functions
        for logical_id in pool.functions if layers else changed.sources:
            if pool.renew(logical_id):
                pool.warm(logical_id)
        names = ", ".join(sorted(changed.sources)) or "the template"
        self._say(f"renewed: {names}")
        return found

    async def _prepared(self, host: Host, scratch: Path) -> dict[str, Source]:
        """Return the folders of functions and layers, once those are built that must be."""
        found = sources(self._project, self._build) | inline_code(self._project, scratch / "inline")
        wanted = building.stale(found.values())
        if wanted:
            sam = await asyncio.to_thread(self._environments.sam)
            async with self._step(f"sam build: {', '.join(source.logical_id for source in wanted)}"):
                line, variables = building.command(sam, self._project, wanted, host.pythons, scratch)
                log = scratch / "sam-build.log"
                await Program("sam build", line, environment("AWS_", **variables), self._path.parent, log).run()
                building.keep(wanted, scratch)
        return found

    async def _deploy(self, account: Account, deployment: Deployment, pool: Pool) -> tuple[Deployed, Resolver]:
        deployed = await asyncio.to_thread(deployment.put, self._project, self._parameters, pool.invoke_url)
        described = await asyncio.to_thread(
            stacks.describe,
            _STACK,
            endpoint_url=account.endpoint_url,
            region=account.region,
            access_key=account.access_key,
            secret_key=account.secret_key,
        )
        return deployed, Resolver(Template(self._project.expanded), described)

    async def _offer(
        self, account: Account, pool: Pool, found: Mapping[str, Source], deployed: Deployed, resolver: Resolver
    ) -> None:
        """Have the pool run the functions as they are deployed now."""

        def role(function: Mapping[str, Any]) -> Mapping[str, str]:
            return account.variables_of_role(function) if self._options.enforces_iam else {}

        pool.offer(
            await asyncio.to_thread(lambda: list(specs(self._project, found, deployed.functions, resolver, role)))
        )

    async def _listen(
        self, resolver: Resolver, emulator: LocalEmulator, aws_names: AwsNames, port: int, exits: AsyncExitStack
    ) -> None:
        """Serve all APIs on one port; a stage that several have is reached by the name of its API."""
        apis = self._apis(resolver)
        self._gateway = gateway = Gateway(apis, emulator, self._options.settings, url_prefix="", aws_names=aws_names)
        await exits.enter_async_context(gateway)
        bound = await gateway.listen("127.0.0.1", port, tls=self._tls)
        for api in apis:
            for stage in sorted(api.stages):
                shared = any(stage in other.stages for other in apis if other is not api)
                url = f"ws://localhost:{bound}/{f'{api.name}/' if shared else ''}{stage}"
                self._say(f"{api.name}, stage {stage}:  {url}\n  npx wscat -c {url}\n  samsocket connect {url}")

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

    def _say_what_is_missing(self, deployed: Deployed, found: Mapping[str, Source]) -> None:
        """Name each resource that is not served."""
        for logical_id, why in deployed.left_out.items():
            if not why.startswith(_SERVED_BY_THE_GATEWAY):
                self._say(f"not served: {logical_id} ({why})")
        for logical_id, properties in functions(self._project).items():
            runtime = str(properties.get("Runtime", ""))
            if properties.get("PackageType") == "Image":
                self._say(f"not served: {logical_id} (a container image, which needs Docker)")
            elif family_of(runtime) is None:
                self._say(f"not served: {logical_id} (the runtime {runtime}: Python, Node and custom ones are)")
            elif logical_id not in found:
                self._say(f"not served: {logical_id} (its code is not on this machine)")

    @asynccontextmanager
    async def _step(self, doing: str) -> AsyncIterator[None]:
        began = time.monotonic()
        self._say(f"… {doing}")
        yield
        self._say(f"✓ {doing}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Show an error of a change, and go on with what was before it."""
        try:
            yield
        except StartError as error:
            self._say(f"✗ {error}")


async def _attend(attending: asyncio.Task[None]) -> None:
    """Wait for the emulator's end, which is an error unless it is ours."""
    with contextlib.suppress(asyncio.CancelledError):
        await attending


def _api_ids(template: Template) -> list[str]:
    """Return the logical ids of a template's WebSocket APIs."""
    return [
        resource.logical_id
        for resource in template.of_type("AWS::ApiGatewayV2::Api")
        if resource.properties.get("ProtocolType") == "WEBSOCKET"
    ]


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
