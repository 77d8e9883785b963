from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from realtime import snapstart


class Hooks:
    """Lambda's module of runtime hooks, as what was registered."""

    def __init__(self) -> None:
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []
        self.module = SimpleNamespace(
            register_before_snapshot=self.before.append, register_after_restore=self.after.append
        )


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    hooks = Hooks()
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", hooks.module)
    return hooks


def make() -> None:
    raise AssertionError("importing a function does no work")


def test_what_is_needed_is_made_before_the_snapshot(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    snapstart.prepare(make)
    assert hooks.before == [make]


def test_those_restored_from_one_snapshot_have_jitter_of_their_own(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    snapstart.prepare(make)
    snapshot = random.getstate()
    drawn = []
    for _ in range(2):
        random.setstate(snapshot)
        for renew in hooks.after:
            renew()
        drawn.append(random.random())
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency", None])
def test_without_snapshots_nothing_is_registered(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, kind: str | None
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_INITIALIZATION_TYPE", raising=False)
    if kind:
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    snapstart.prepare(make)
    assert not hooks.before
    assert not hooks.after


@pytest.mark.parametrize(
    "function", ["announce", "broadcast", "connect", "deadlines", "default", "disconnect", "ingest", "sweep"]
)
def test_every_function_prepares_itself(hooks: Hooks, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.delitem(sys.modules, function, raising=False)  # what others imported stays theirs
    importlib.import_module(function)
    assert hooks.before
