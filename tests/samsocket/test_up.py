"""`samsocket up` with options, its page, and how soon an edit has its effect."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.samsocket.tool import WITHIN, hears, running

PROJECTS = Path(__file__).parent / "projects"
AS_THE_PAGE = {"X-Samsocket-Page": "1"}
EFFECT_WITHIN = 30.0
"""Seconds from saving a handler to its effect; decision 0062 has what was measured, tests wait for loaded machines."""

pytestmark = [pytest.mark.timeout(3 * WITHIN), pytest.mark.enable_socket]


async def activity(http: aiohttp.ClientSession, base: str) -> list[dict[str, Any]]:
    """What the page has read from its start."""
    async with http.get(f"{base}/_gateway/page/activity", headers=AS_THE_PAGE) as answer:
        assert answer.status == 200
        entries: list[dict[str, Any]] = (await answer.json())["entries"]
        return entries


async def test_quotas_latency_and_the_page_of_a_run(tmp_path: Path) -> None:
    folder = shutil.copytree(PROJECTS / "rooms-python", tmp_path / "rooms")
    options = ("--latency", "0.3", "--frame-bytes", "1000")
    async with running(folder, tmp_path, *options) as tool, aiohttp.ClientSession() as http:
        url = tool.urls["live"]
        base = url.replace("ws:", "http:").removesuffix("/live")
        assert f"Connections, frames and logs:  {base}/" in tool.printed()
        async with http.get(f"{base}/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")

        async with http.ws_connect(url) as client:
            began = time.monotonic()
            await client.send_str("hello")
            assert await hears(client) == "echo: hello"
            assert time.monotonic() - began >= 0.3
            await tool.prints("Echo | echo of hello")
            await client.send_json({"action": "fail"})
            await hears(client)
            seen = await activity(http, base)
            assert {"function": "Echo", "text": "echo of hello"}.items() <= next(
                entry for entry in seen if entry["kind"] == "log" and "hello" in entry["text"]
            ).items()
            assert any(entry["kind"] == "problem" and "no such room" in entry["text"] for entry in seen)
            assert any(entry["kind"] == "sent" and entry["text"] == "echo: hello" for entry in seen)

            code = folder / "src/app.py"
            code.write_text(code.read_text().replace("echo: ", "you said: "))
            async with asyncio.timeout(EFFECT_WITHIN):
                while True:  # the connection stays, and its next event but a few runs the new code
                    await client.send_str("again")
                    if await hears(client) == "you said: again":
                        break

            await client.send_str("x" * 1001)
            message = await client.receive(timeout=WITHIN)
            assert (message.type, client.close_code) == (aiohttp.WSMsgType.CLOSE, 1009)
