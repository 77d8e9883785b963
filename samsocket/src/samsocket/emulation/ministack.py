"""Starts the emulator MiniStack."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import aiohttp

from samsocket.emulation import guarded_emulator
from samsocket.emulation.deployment import Account
from samsocket.errors import StartError
from samsocket.processes import Program

_KEPT: Final = ("PATH", "HOME", "LANG", "TZ")
_SECONDS: Final = 60.0


def program(python: Path, account: Account, port: int, scratch: Path, *, enforces_iam: bool) -> Program:
    """Return the emulator as a program; `python` is its interpreter, `scratch` a folder that ends with it.

    With `enforces_iam`, a role has the rights that its policies give, and no others; the run's own key has all.
    """
    variables = {
        "AWS_ACCESS_KEY_ID": account.access_key,
        "AWS_SECRET_ACCESS_KEY": account.secret_key,
        "AUTH": str(enforces_iam).lower(),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "MINISTACK_REGION": account.region,
        "LAMBDA_WARM_TTL_SECONDS": "3600",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(scratch),
    }
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return Program(
        "emulator", guarded_emulator(python, aws_names=True), kept | variables, scratch, scratch / "emulator.log"
    )


async def answers(account: Account) -> None:
    """Wait until the emulator answers.

    Raises:
        StartError: it does not in time.
    """
    try:
        async with asyncio.timeout(_SECONDS), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{account.endpoint_url}/_ministack/health") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise StartError(f"the emulator does not answer within {_SECONDS:g} s") from None
