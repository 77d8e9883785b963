"""The ways of putting an event that docs/backends.md prints, each run as it stands there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from harness.stack import Stack
from tests.cloudformation import ROOT
from tests.e2e.javascript import FOLDER as NODE

GUIDE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
RECIPIENT = 789
# Where there is no AWS CLI: reads the two words and the option that the guide uses, and nothing else of the CLI.
STAND_IN = f"""\
#!{sys.executable}
import json, sys
import boto3
assert sys.argv[1:4] == ["events", "put-events", "--entries"] and len(sys.argv) == 5, sys.argv
print(json.dumps(boto3.client("events").put_events(Entries=json.loads(sys.argv[4]))["Entries"]))
"""


def snippet(language: str) -> str:
    """The one block of the guide in a language that puts events."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if re.search("put.?events", block, re.IGNORECASE))
    return str(found)


def as_program(language: str, folder: Path) -> list[str | Path]:
    """Write a snippet into a folder, and return the command that runs it."""
    if language == "sh":
        if shutil.which("aws") is None:
            stand_in = folder / "aws"
            stand_in.write_text(STAND_IN, encoding="utf-8")
            stand_in.chmod(0o755)
        return ["bash", "-euc", snippet(language)]
    if language == "python":
        return [sys.executable, "-c", snippet(language)]
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    script = folder / "put.mjs"
    script.write_text(snippet(language), encoding="utf-8")
    return ["node", script]


@pytest.mark.parametrize("language", ["sh", "python", "js"])
async def test_the_guides_snippet_reaches_the_client_that_it_names(stack: Stack, language: str, tmp_path: Path) -> None:
    running = stack.running
    environment = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:{tmp_path}",
        "AWS_ENDPOINT_URL": running.aws_endpoint_url,
        "AWS_ACCESS_KEY_ID": running.access_key,
        "AWS_SECRET_ACCESS_KEY": running.secret_key,
        "AWS_REGION": running.region,
        "AWS_DEFAULT_REGION": running.region,
        "AWS_PAGER": "",
        "REALTIME_BUS": stack.outputs["BusName"],
    }
    async with stack.connect("notifications", RECIPIENT) as client:
        program = as_program(language, tmp_path)
        process = await asyncio.create_subprocess_exec(*program, env=environment, stdout=PIPE, stderr=STDOUT)
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, said.decode()
        message = await client.hears("favorite_added")
        assert message["data"] == {"user_id": 123, "username": "jane_smith", "action": "added_you_to_favorites"}
