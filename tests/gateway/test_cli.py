"""The command, as a process of its own with a fake CloudFormation."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import aiohttp
import pytest
from aiohttp import web

from tests.support.gateways import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
TEMPLATE = """
Resources:
  Api: {Type: "AWS::ApiGatewayV2::Api", Properties: {ProtocolType: WEBSOCKET}}
  Stage: {Type: "AWS::ApiGatewayV2::Stage", Properties: {ApiId: !Ref Api, StageName: feed, AutoDeploy: true}}
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties: {ApiId: !Ref Api, RouteKey: $connect, Target: !Sub "integrations/${I}"}
  I: {Type: "AWS::ApiGatewayV2::Integration", Properties: {ApiId: !Ref Api, IntegrationType: MOCK}}
"""
KINDS = {"Api": "Api", "Stage": "Stage", "Route": "Route", "I": "Integration"}


async def cloudformation(request: web.BaseRequest) -> web.Response:
    """CloudFormation's query API, with one stack called `there`, and an API Gateway that shows nothing."""
    if request.path.startswith("/v2/"):
        return web.json_response({"items": []})
    form = {name: values[0] for name, values in parse_qs((await request.read()).decode()).items()}
    if form["Action"] == "ListExports":
        text = "<ListExportsResponse><ListExportsResult><Exports/></ListExportsResult></ListExportsResponse>"
        return web.Response(text=text, content_type="text/xml")
    if form["StackName"] != "there":
        message = escape(f"Stack with id {form['StackName']} does not exist")
        error = (
            f"<ErrorResponse><Error><Code>ValidationError</Code><Message>{message}</Message></Error></ErrorResponse>"
        )
        return web.Response(status=400, text=error, content_type="text/xml")
    if form["Action"] == "DescribeStacks":
        member = (
            "<StackId>arn:aws:cloudformation:us-east-1:000000000000:stack/there/1</StackId><StackName>there</StackName>"
        )
        inner = f"<Stacks><member>{member}</member></Stacks>"
    else:
        rows = "".join(
            f"<member><LogicalResourceId>{name}</LogicalResourceId><PhysicalResourceId>{name}-1</PhysicalResourceId>"
            f"<ResourceType>AWS::ApiGatewayV2::{kind}</ResourceType></member>"
            for name, kind in KINDS.items()
        )
        inner = f"<StackResourceSummaries>{rows}</StackResourceSummaries>"
    action = form["Action"]
    text = f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"
    return web.Response(text=text, content_type="text/xml")


@pytest.fixture
async def endpoint_url() -> AsyncIterator[str]:
    server = web.Server(cloudformation, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()
    await server.shutdown(1)


@asynccontextmanager
async def run(tmp_path: Path, endpoint_url: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    template = tmp_path / "template.yaml"
    if not template.exists():
        template.write_text(TEMPLATE)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "samsocket", "serve", "--template", str(template), "--endpoint-url", endpoint_url),
        *("--port", "0", *options),
        cwd=ROOT,
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def error_of(tmp_path: Path, endpoint_url: str, *options: str) -> str:
    """Run a command that must fail, and return the one line that it prints."""
    async with run(tmp_path, endpoint_url, *options) as process, asyncio.timeout(3 * DEADLINE):
        _, error = await process.communicate()
    assert process.returncode == 1
    text = error.decode()
    assert text.count("\n") == 1, text
    return text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_gateway_says_when_it_is_ready_and_ends_cleanly_on_a_signal(
    tmp_path: Path, endpoint_url: str, number: signal.Signals
) -> None:
    async with run(tmp_path, endpoint_url, "--stack", "there") as process, asyncio.timeout(3 * DEADLINE):
        assert process.stdout is not None
        ready = (await process.stdout.readline()).decode()
        assert ready.startswith("gateway ready: ws://127.0.0.1:")
        assert ready.endswith("/ws/{stage} for feed\n")
        port = int(ready.split(":")[3].split("/")[0])
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"http://127.0.0.1:{port}/ws/feed") as websocket,
        ):
            process.send_signal(number)
            assert (await websocket.receive()).data == 1001
        assert await process.wait() == 0


async def test_neither_a_proxy_nor_a_profile_of_the_users_stands_in_the_way(
    tmp_path: Path, endpoint_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HTTP_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", ""), ("AWS_PROFILE", "nope")):
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    async with run(tmp_path, endpoint_url, "--stack", "there") as process, asyncio.timeout(3 * DEADLINE):
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"gateway ready")


@pytest.mark.parametrize(("options", "status"), [((), 200), (("--no-page",), 403)])
async def test_the_gateway_has_a_page_unless_it_is_told_not_to(
    tmp_path: Path, endpoint_url: str, options: tuple[str, ...], status: int
) -> None:
    async with (
        run(tmp_path, endpoint_url, "--stack", "there", *options) as process,
        asyncio.timeout(3 * DEADLINE),
        aiohttp.ClientSession() as client,
    ):
        assert process.stdout is not None
        port = int((await process.stdout.readline()).decode().split(":")[3].split("/")[0])
        async with client.get(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == status


@pytest.mark.parametrize(("host", "status"), [("realtime.example", 101), ("elsewhere.example", 421)])
async def test_the_gateway_accepts_further_host_names(
    tmp_path: Path, endpoint_url: str, host: str, status: int
) -> None:
    options = ("--stack", "there", "--allow-host", "realtime.example")
    async with run(tmp_path, endpoint_url, *options) as process, asyncio.timeout(3 * DEADLINE):
        assert process.stdout is not None
        port = int((await process.stdout.readline()).decode().split(":")[3].split("/")[0])
        async with aiohttp.ClientSession() as client:
            url, headers = f"http://127.0.0.1:{port}/ws/feed", {"Host": host}
            if status == 101:
                async with client.ws_connect(url, headers=headers):
                    return
            with pytest.raises(aiohttp.WSServerHandshakeError, match=str(status)):
                await client.ws_connect(url, headers=headers)


async def test_a_taken_port_is_named(tmp_path: Path, endpoint_url: str) -> None:
    port = endpoint_url.rpartition(":")[2]
    error = await error_of(tmp_path, endpoint_url, "--stack", "there", "--port", port)
    assert f"port {port} on 127.0.0.1 is taken" in error


async def test_a_stack_that_is_not_deployed_is_named(tmp_path: Path, endpoint_url: str) -> None:
    assert "stack nowhere is not deployed" in await error_of(tmp_path, endpoint_url, "--stack", "nowhere")


async def test_an_emulator_that_does_not_answer_is_named(tmp_path: Path) -> None:
    error = await error_of(tmp_path, "http://127.0.0.1:1", "--stack", "there")
    assert "no AWS endpoint answers at http://127.0.0.1:1" in error


async def test_a_template_without_a_websocket_api_is_named(tmp_path: Path, endpoint_url: str) -> None:
    (tmp_path / "template.yaml").write_text("Resources: {}")
    assert "has no deployed WebSocket API" in await error_of(tmp_path, endpoint_url, "--stack", "there")


async def test_a_setting_that_means_nothing_is_named(tmp_path: Path, endpoint_url: str) -> None:
    error = await error_of(tmp_path, endpoint_url, "--stack", "there", "--idle-timeout", "0")
    assert "idle_timeout must be a positive number" in error
