"""A clock that a test moves, for the functions."""

from __future__ import annotations

import sys
import time
from datetime import datetime, tzinfo
from types import ModuleType, SimpleNamespace

import pytest

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Clock:
    """Seconds since the epoch; the monotonic clock shows the same ones."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    @property
    def ms(self) -> int:
        return int(self.now * 1000)

    def advance(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    def install_in_pyjwt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give this clock to PyJWT, which refuses tokens that are issued in the future."""
        clock = self

        class Now(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Now:
                return cls.fromtimestamp(clock.now, tz)

        monkeypatch.setattr("jwt.api_jwt.datetime", Now)

    def install(self, monkeypatch: pytest.MonkeyPatch, modules: list[str]) -> None:
        """Give this clock to modules that have been imported, and to no others: hypothesis uses the real one."""
        told = {"time": self, "monotonic": self, "time_ns": lambda: int(self.now * 1e9), "sleep": self.advance}
        shown = SimpleNamespace(**{**vars(time), **told})
        for module in (sys.modules[name] for name in modules):
            for name, value in list(vars(module).items()):
                if value is time:
                    monkeypatch.setattr(module, name, shown)
                elif not isinstance(value, ModuleType) and value in (time.time, time.monotonic, time.sleep):
                    monkeypatch.setattr(module, name, getattr(shown, value.__name__))
