"""The TypeScript client: its behaviour, types and size; and its package, in an empty project, against a real socket."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"
TOOLS = CLIENT / "node_modules" / ".bin"
TESTS = sorted((CLIENT / "test").glob("*.test.mjs"))

pytestmark = pytest.mark.skipif(not TOOLS.exists(), reason="make setup installs the client's tools")


def run(*command: str | Path, cwd: Path = CLIENT) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("specification", TESTS, ids=lambda path: path.name)
def test_the_client_does_what_its_specification_says(specification: Path) -> None:
    said = run("node", "--test", "--test-reporter=tap", specification)
    passed = re.search(r"^# pass (\d+)$", said, re.MULTILINE)
    assert passed
    assert int(passed[1]) > 0


def test_the_types_are_right_in_strict_mode() -> None:
    run(TOOLS / "tsc", "-p", "tsconfig.json")


def test_the_client_stays_small() -> None:
    assert "client" in run("node", "size.mjs")


def test_the_lock_names_no_registry() -> None:
    assert "://" not in re.sub(r'"(url|funding)": "[^"]*"', "", (CLIENT / "package-lock.json").read_text("utf-8"))


def test_the_guide_prints_the_example_that_is_run() -> None:
    example = (CLIENT / "examples" / "first.mjs").read_text("utf-8")
    assert f"```js\n{example}```" in (ROOT / "docs" / "clients-web.md").read_text("utf-8")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The first example of the guide, in an empty project into which the package was installed."""
    run("npm", "pack", "--ignore-scripts=false", "--pack-destination", tmp_path)  # prepack makes the types
    (package,) = tmp_path.glob("*.tgz")
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text(json.dumps({"type": "module", "private": True}), "utf-8")
    run("npm", "install", "--offline", "--no-audit", "--no-fund", package, cwd=project)
    assert (project / "node_modules" / "listener-realtime" / "types" / "client.d.ts").exists()
    script = project / "first.mjs"
    # Node 20 has no WebSocket of its own; the example of the guide runs unchanged on a later one.
    script.write_text(
        f'import WebSocket from "{CLIENT}/node_modules/ws/wrapper.mjs";\nglobalThis.WebSocket ??= WebSocket;\n'
        + (CLIENT / "examples" / "first.mjs").read_text("utf-8"),
        "utf-8",
    )

    return script


async def test_the_package_runs_the_first_example_in_an_empty_project(example: Path) -> None:
    async def calls(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["bearer"])
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and json.loads(message.data)["type"] == "ping":
                call = {
                    "type": "call_started",
                    "data": {"call_id": 456},
                    "timestamp": "2026-01-01T00:00:00Z",
                    "id": "1",
                }
                await socket.send_json([call])
        return socket

    application = web.Application()
    application.router.add_get("/ws/live", calls)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
        process = await asyncio.create_subprocess_exec(
            "node", example, url, "a-token", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        await runner.cleanup()
    assert "call 456" in said.decode()
    assert process.returncode == 0
