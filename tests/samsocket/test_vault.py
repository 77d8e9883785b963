"""What the emulator tells about access keys, and to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samsocket.emulation.vault import KEYS, ROLES, Vault


class Emulator:
    """The application behind: counts what reaches it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope.get("path", scope["type"]))


async def ask(emulator: Emulator, path: str, *, own: bool = True, body: bytes = b"", kind: str = "http") -> Any:
    """Send a request; return the status and the answer, or None if it went on to the emulator."""
    roles: list[dict[str, Any]] = []

    def role(config: dict[str, Any]) -> dict[str, str]:
        roles.append(config)
        return {"AWS_ACCESS_KEY_ID": f"of {config['Role']}"}

    vault = Vault(
        emulator,
        lambda _: own,
        lambda key: {"SecretAccessKey": "s" if key == "A/B" else None, "SessionToken": None},
        role,
    )
    sent: list[Any] = []
    parts = [body[:4], body[4:]]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(event: Any) -> None:
        sent.append(event)

    await vault({"type": kind, "path": path}, receive, send)
    return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else None


async def test_the_runs_own_key_is_told_of_secrets() -> None:
    emulator = Emulator()
    assert await ask(emulator, f"{KEYS}A%2FB") == (200, {"SecretAccessKey": "s", "SessionToken": None})
    assert await ask(emulator, f"{KEYS}nobody") == (200, {"SecretAccessKey": None, "SessionToken": None})
    assert emulator.paths == []


async def test_the_runs_own_key_is_given_the_rights_of_a_function() -> None:
    assert await ask(Emulator(), ROLES, body=b'{"Role": "arn:x"}') == (200, {"AWS_ACCESS_KEY_ID": "of arn:x"})


@pytest.mark.parametrize("path", [f"{KEYS}A%2FB", ROLES, "/_samsocket/other"])
async def test_no_other_key_is_told_anything(path: str) -> None:
    emulator = Emulator()
    status, answer = await ask(emulator, path, own=False, body=b'{"Role": "arn:x"}')
    assert (status, list(answer)) == (403, ["message"])
    assert emulator.paths == []


@pytest.mark.parametrize(("path", "kind"), [("/2015-03-31/functions", "http"), (f"{KEYS}A", "lifespan")])
async def test_all_else_goes_on_to_the_emulator(path: str, kind: str) -> None:
    emulator = Emulator()
    assert await ask(emulator, path, kind=kind) is None
    assert emulator.paths == [path]
