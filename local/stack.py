"""Starts the embedded stack: the emulator, our template (which the SAM CLI deploys to it), and our gateway."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import sys
import time
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from local import site
from local.errors import NotAnsweringError, PortTakenError, ToolMissingError
from operate.deployment import Clients, Deployment, new_access_key, stack_outputs
from operate.errors import CommandError
from operate.state import PRIVATE, ROOT, Running, StateFolder
from samsocket.emulation import guarded_emulator
from samsocket.errors import StartError
from samsocket.processes import Program, environment, no_proxy_on_this_machine

STACK = "listener-realtime"
REGION = "us-east-1"
API_ID = "realtime"
BUCKET = "sam-artifacts"  # samconfig.toml names it too
LOOPBACK, LOOPBACK_6 = "127.0.0.1", "::1"

EMULATOR_SECONDS = 30.0
GATEWAY_SECONDS = 20.0
HANDSHAKE_SECONDS = 30.0


@dataclass(frozen=True)
class Tools:
    """The programs that `make setup` installs."""

    sam: Path
    emulator: Path
    uv: Path

    @classmethod
    def installed(cls, folder: Path = ROOT / ".tools") -> Tools:
        """Find them.

        Raises:
            ToolMissingError: one is not there.
        """
        tools = cls(folder / "sam/bin/sam", folder / "ministack/bin/ministack", folder / "uv/bin/uv")
        for name, path in (("The SAM CLI", tools.sam), ("The emulator MiniStack", tools.emulator), ("uv", tools.uv)):
            if not path.exists():
                raise ToolMissingError(name, path)
        return tools


@dataclass(frozen=True)
class Options:
    """What to start. An `aws_port` of 0 means any free port; `parameters` override those of the template."""

    port: int = 8080
    aws_port: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def free_port(port: int, option: str) -> Iterator[int]:
    """Hold a port of the loopback address, any free one for 0, until it is to be used.

    Raises:
        PortTakenError: something listens on it; `option` is where another can be given.
    """
    with ExitStack() as listeners:

        def hold(family: socket.AddressFamily, address: str, port: int) -> int:
            listener = listeners.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE or family is socket.AF_INET:
                    raise PortTakenError(port, option) from error
                return 0  # this machine has no IPv6
            return int(listener.getsockname()[1])

        held = hold(socket.AF_INET, LOOPBACK, port)
        if port and socket.has_ipv6:  # `localhost` is first looked for there, so another program would get our clients
            hold(socket.AF_INET6, LOOPBACK_6, held)
        yield held


def complaint(log: Path) -> str | None:
    """The emulator's last complaint, such as one about a function that does not start."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if " WARNING " in line or " ERROR " in line), None)


def _first(error: Exception) -> Exception:
    """The first of several errors, which caused the others."""
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


class EmbeddedStack:
    """One stack, from its start to its end."""

    def __init__(self, folder: StateFolder, options: Options, say: Callable[[str], None]) -> None:
        """Check what can be checked before anything is started. `say` shows a person one line of progress.

        Raises:
            ToolMissingError: a program is not installed.
            PortTakenError: another program uses a port of the stack.
        """
        self._tools = Tools.installed()
        access_key, secret_key = new_access_key()
        with free_port(options.port, "--port") as port, free_port(options.aws_port, "--aws-port") as aws_port:
            self.running = Running(
                state="starting",
                pid=os.getpid(),
                stack=STACK,
                region=REGION,
                websocket_url=f"ws://localhost:{port}/ws",
                management_url=f"http://localhost:{port}/_aws/execute-api/{API_ID}",
                aws_endpoint_url=f"http://{LOOPBACK}:{aws_port}",
                page_url=f"http://localhost:{port}/",
                access_key=access_key,
                secret_key=secret_key,
            )
        self._port, self._aws_port = port, aws_port
        self._parameters = {
            "ApiTag": API_ID,
            "ManagementEndpoint": self.running.management_url,
            "IngestConcurrency": "4",  # each is a process of this machine
            **options.parameters,
        }
        self._folder, self._say = folder, say
        self._scratch = folder.path / "tmp"
        self._built = folder.path / "build"
        self._clients = Clients.emulated(self.running)

    async def run(self, when_ready: Callable[[Running], None]) -> None:
        """Start everything, tell when it is ready, and go on until cancelled or until a part ends; then end it all.

        Raises:
            CommandError: it does not start, or a part of it ended.
        """
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=PRIVATE, parents=True)
        self._folder.write(self.running)
        try:
            async with TaskGroup() as emulator:
                outputs = await self._deploy(emulator)
                self.running = replace(self.running, bus=outputs["BusName"], outputs=outputs)
                page = site.serving(Deployment.embedded(self.running), self._port)
                async with page as page_url, TaskGroup() as gateway:  # which ends first: its last calls are answered
                    await self._serve(gateway, page_url)
                    self.running = replace(self.running, state="ready")
                    self._folder.write(self.running)
                    when_ready(self.running)
        except ExceptionGroup as group:
            cause = _first(group)
            raise (CommandError(str(cause)) if isinstance(cause, StartError) else cause) from group
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    async def _deploy(self, tasks: TaskGroup) -> dict[str, str]:
        """Start the emulator, put the stack on it, and return the stack's outputs."""
        build = tasks.create_task(self._build())
        async with self._step("starting the AWS emulator"):
            tasks.create_task(self._emulator().attend())
            await self._answers("emulator", f"{self.running.aws_endpoint_url}/_ministack/health", EMULATOR_SECONDS)
            await asyncio.to_thread(self._prepare)
        await build
        async with self._step("deploying the stack"):
            await self._sam("deploy", self._deploy_arguments()).run()
            await asyncio.to_thread(self._bound_concurrency)
            return await asyncio.to_thread(stack_outputs, self._clients, STACK)

    async def _serve(self, tasks: TaskGroup, page_url: str) -> None:
        """Start the gateway before the page, and see that all works together."""
        async with self._step("starting the WebSocket gateway"):
            tasks.create_task(self._gateway(page_url).attend())
            await self._answers("gateway", f"http://{LOOPBACK}:{self._port}/_gateway/health", GATEWAY_SECONDS)
        async with self._step("waiting for a WebSocket handshake"):
            await self._handshake()

    # ---- the programs -----------------------------------------------------------------------------------------------

    def _emulator(self) -> Program:
        variables = {
            "AWS_ACCESS_KEY_ID": self.running.access_key,
            "AWS_SECRET_ACCESS_KEY": self.running.secret_key,
            "AUTH": "true",  # roles have the rights that their policies give, and no others
            "BIND_HOST": LOOPBACK,  # its default is every address of this machine
            "GATEWAY_PORT": str(self._aws_port),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "MINISTACK_REGION": REGION,
            "LAMBDA_WARM_TTL_SECONDS": "3600",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self._scratch),
        }
        # Functions inherit the emulator's environment: nothing of this machine's own must get there.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        command = guarded_emulator(self._tools.emulator.with_name("python"), self._port)
        return self._program("emulator", command, kept | variables)

    def _gateway(self, page_url: str) -> Program:
        command: list[str | Path] = [sys.executable, "-m", "samsocket", "serve"]
        command += ["--template", ROOT / "template.yaml", "--stack", STACK]
        command += ["--endpoint-url", self.running.aws_endpoint_url, "--region", REGION, "--port", str(self._port)]
        command += ["--fallback", page_url]
        return self._program("gateway", command, self._aws_environment())

    def _sam(self, command: str, arguments: list[str | Path]) -> Program:
        home = self._scratch / "sam"  # else the SAM CLI looks on the network for a newer version of itself
        home.mkdir(exist_ok=True)
        (home / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}), encoding="utf-8")
        variables = {
            "LAYER_PYTHON": str(self._tools.emulator.with_name("python")),
            "PATH": os.pathsep.join([str(self._tools.uv.parent), os.environ.get("PATH", os.defpath)]),
            "SAM_CLI_POLL_DELAY": "0.3",
            "SAM_CLI_TELEMETRY": "0",
            "UV_PYTHON_DOWNLOADS": "never",
            "__SAM_CLI_APP_DIR": str(home),
        }
        line = [self._tools.sam, command, "--config-file", ROOT / "samconfig.toml", "--config-env", "local", *arguments]
        return self._program(f"sam-{command}", line, self._aws_environment() | variables)

    def _deploy_arguments(self) -> list[str | Path]:
        overrides = [f"{name}={value}" for name, value in self._parameters.items()]
        return [
            "--template-file",
            self._built / "template.yaml",
            "--no-progressbar",
            "--parameter-overrides",
            *overrides,
        ]

    def _program(self, name: str, command: list[str | Path], variables: Mapping[str, str]) -> Program:
        return Program(name, command, variables, ROOT, self._folder.logs / f"{name}.log")

    def _aws_environment(self) -> dict[str, str]:
        return environment(
            "AWS_",
            "SAM_CLI_",
            AWS_ACCESS_KEY_ID=self.running.access_key,
            AWS_SECRET_ACCESS_KEY=self.running.secret_key,
            AWS_REGION=REGION,
            AWS_DEFAULT_REGION=REGION,
            AWS_ENDPOINT_URL=self.running.aws_endpoint_url,
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull,
            **no_proxy_on_this_machine(os.environ),
            PYTHONUNBUFFERED="1",
        )

    # ---- the steps --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _step(self, doing: str) -> AsyncIterator[None]:
        began = time.monotonic()
        self._say(f"  … {doing}")
        yield
        self._say(f"  ✓ {doing}: {time.monotonic() - began:.1f} s")

    async def _build(self) -> None:
        async with self._step("building the layer"):
            arguments: list[str | Path] = ["--template-file", ROOT / "template.yaml", "--build-dir", self._built]
            await self._sam("build", arguments).run()

    def _prepare(self) -> None:
        """Create the resource that the deployment needs: a bucket for code."""
        self._clients.s3().create_bucket(Bucket=BUCKET)

    def _bound_concurrency(self) -> None:
        """Set again, as a number, how many batches each of the emulator's mappings may handle at the same time.

        The emulator's CloudFormation passes a parameter on as text; AWS turns it into a number.
        """
        functions = self._clients.functions()
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            if (limit := mapping.get("ScalingConfig", {}).get("MaximumConcurrency")) is not None:
                functions.update_event_source_mapping(
                    UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
                )

    async def _answers(self, what: str, url: str, seconds: float) -> None:
        """Wait until a URL answers 200.

        Raises:
            NotAnsweringError: it does not in time.
        """
        reason = "nothing listens"
        try:
            async with asyncio.timeout(seconds), aiohttp.ClientSession() as http:
                while True:
                    try:
                        async with http.get(url) as answer:
                            if answer.status == 200:
                                return
                            reason = f"status {answer.status}"
                    except aiohttp.ClientError as error:
                        reason = str(error)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise NotAnsweringError(what, seconds, reason, self._folder.logs / f"{what}.log") from None

    async def _handshake(self) -> None:
        """Wait until a client without a token is refused, which needs every part from the gateway to `farewell`.

        Raises:
            NotAnsweringError: it is not, in time.
        """
        reason = "no error frame came"
        url = f"http://{LOOPBACK}:{self._port}/ws/feed"
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS), aiohttp.ClientSession() as http:
                while True:
                    try:
                        async with http.ws_connect(url) as socket:
                            message = await socket.receive()
                            if message.type is aiohttp.WSMsgType.TEXT:
                                return
                            reason = f"the connection was closed with {socket.close_code}"
                    except aiohttp.WSServerHandshakeError as error:
                        if error.status in (401, 403):  # RejectionMode=handshake
                            return
                        reason = f"status {error.status}"
                    await asyncio.sleep(0.2)
        except TimeoutError:
            log = self._folder.logs / "emulator.log"
            raise NotAnsweringError("service", HANDSHAKE_SECONDS, complaint(log) or reason, log) from None
