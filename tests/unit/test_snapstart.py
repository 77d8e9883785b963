from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from realtime import log, snapstart
from realtime.errors import ConfigurationError


class Hooks:
    """A fake of Lambda's module of runtime hooks; it keeps what was registered."""

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


def test_preparation_runs_before_the_snapshot(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    snapstart.prepare(make)
    assert hooks.before == [make]


def test_instances_restored_from_one_snapshot_draw_different_jitter(
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


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency"])
def test_without_snapshots_preparation_runs_while_lambda_starts(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    made: list[str] = []
    snapstart.prepare(lambda: made.append("first"), lambda: made.append("second"))
    assert made == ["first", "second"]
    assert not hooks.before
    assert not hooks.after


def test_a_failed_preparation_is_logged_and_left_to_the_first_invocation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    logged: list[BaseException | None] = []
    monkeypatch.setattr(
        log, "logger", lambda: SimpleNamespace(exception=lambda message: logged.append(sys.exc_info()[1]))
    )
    made: list[str] = []
    problem = ConfigurationError("EVENTS_TABLE is not set")

    def fails() -> None:
        raise problem

    snapstart.prepare(fails, lambda: made.append("the rest"))
    assert made == ["the rest"]
    assert logged == [problem]


def test_outside_of_lambda_importing_a_function_does_no_work(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_INITIALIZATION_TYPE", raising=False)
    snapstart.prepare(make)
    assert not hooks.before
    assert not hooks.after


@pytest.mark.parametrize(
    "function", ["announce", "broadcast", "connect", "deadlines", "default", "disconnect", "ingest", "sweep"]
)
def test_every_function_prepares_itself(hooks: Hooks, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.delitem(sys.modules, function, raising=False)  # other tests keep the module that they have imported
    importlib.import_module(function)
    assert hooks.before
