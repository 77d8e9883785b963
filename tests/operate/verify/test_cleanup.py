"""What is removed after a run, and for what that waits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from operate.verify import cleanup


@pytest.mark.parametrize(("users", "pauses"), [([], []), (["one"], [2.0])])
async def test_only_what_users_left_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, users: list[str], pauses: list[float]
) -> None:
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    async def offline(_user: str) -> dict[str, Any]:
        return {"is_online": {"BOOL": False}}

    monkeypatch.setattr(asyncio, "sleep", pause)
    run: Any = SimpleNamespace(users=users, user_item=offline)
    await cleanup._offline(run, 10.0)
    assert paused == pauses
