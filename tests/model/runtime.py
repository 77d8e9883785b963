"""Lambda as the functions see it: it runs the real handlers, and may disturb them at any call to AWS."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

import realtime
from realtime import bootstrap, errors

FUNCTIONS = (
    "connect",
    "disconnect",
    "default",
    "ingest",
    "announce",
    "broadcast",
    "deadlines",
    "sweep",
    "farewell",
    "late",
)
MODULES = [*(module.name for module in pkgutil.walk_packages(realtime.__path__, "realtime.")), *FUNCTIONS]

Kind = Literal["crash", "error", "lost answer", "meanwhile"]


@dataclass(frozen=True)
class Trouble:
    """A disturbance of an invocation at one of its calls to AWS.

    crash: the process ends after `after` calls; if there are fewer, after the last but before the function returns
    error: the next call fails, and nothing was done
    lost answer: the next call is done, but the function gets no answer
    meanwhile: before the next call, or before the function returns, something else happens
    """

    kind: Kind
    after: int
    meanwhile: tuple[Any, ...] = ()


class Crash(BaseException):
    """The function's process ended."""


class Broken(BaseException):
    """A promise was broken during a function, which must not handle this as an error of its own."""


class Failed(Exception):
    """An invocation failed; its trigger does what AWS documents."""


class InlineExecutor(Executor):
    """Threads that do their work when they get it, so that a run can be repeated exactly."""

    def __init__(self, _max_workers: int = 1) -> None:
        """Ignore the number of threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # as concurrent.futures does
            future.set_exception(error)
        return future


class Context:
    """The parts of Lambda's context that the functions use."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


class _Invocation:
    def __init__(self, trouble: Trouble | None) -> None:
        self.trouble = trouble
        self.calls = 0
        self.hindered = False
        self.excused = False
        self.dead = False


class Runtime:
    """Invokes functions. `meanwhile` does what a Trouble of that kind names; `tick` is called for each call to AWS."""

    def __init__(self, meanwhile: Callable[[tuple[Any, ...]], None], tick: Callable[[], None]) -> None:
        self._meanwhile = meanwhile
        self._tick = tick
        self._running: list[_Invocation] = []

    @property
    def is_running(self) -> bool:
        return bool(self._running)

    def invoke(self, function: str, event: dict[str, Any], trouble: Trouble | None = None) -> Any:
        """Run a function.

        Raises Failed where AWS would call the invocation failed; an exception that no Trouble explains leaves as it is.
        """
        invocation = _Invocation(trouble)
        bootstrap.forget()  # another of this function may be running
        self._running.append(invocation)
        try:
            answer = importlib.import_module(function).handler(event, Context())
            if invocation.trouble and invocation.trouble.kind == "meanwhile":
                self._meanwhile(invocation.trouble.meanwhile)
        except Crash as crash:
            raise Failed from crash
        except Broken as broken:
            raise AssertionError(str(broken)) from broken.__cause__
        except AssertionError:
            raise
        except Exception as error:
            if invocation.hindered or invocation.excused:
                raise Failed from error
            raise
        finally:
            self._running.pop()
            bootstrap.forget()
        if trouble and trouble.kind == "crash":
            raise Failed
        return answer

    def excuse(self) -> None:
        """Let the running function fail: it met an error that no retry overcomes."""
        self._running[-1].excused = True

    def call(self, name: str, perform: Callable[[], Any]) -> Any:
        """Make one call to AWS for the running function."""
        try:
            return self._call(name, perform)
        except AssertionError as error:
            raise Broken(str(error)) from error

    def _call(self, name: str, perform: Callable[[], Any]) -> Any:
        self._tick()
        running = self._running[-1]
        if running.dead:
            raise Crash
        trouble = running.trouble
        if trouble and running.calls == trouble.after and not running.hindered:
            running.hindered = True
            match trouble.kind:
                case "crash":
                    running.dead = True
                    raise Crash
                case "error":
                    response: Any = {"Error": {"Code": "InternalServerError", "Message": "a trouble"}}
                    raise ClientError(response, name)
                case "lost answer":
                    perform()
                    raise ReadTimeoutError(endpoint_url=name)
                case "meanwhile":
                    running.hindered = False
                    running.trouble = None
                    self._meanwhile(trouble.meanwhile)
        running.calls += 1
        answer = perform()
        running.excused = running.excused or answer == 429  # by the account's bucket
        return answer


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load all functions, and let their threads run inline."""
    for name in MODULES:
        module = importlib.import_module(name)
        if hasattr(module, "ThreadPoolExecutor"):
            monkeypatch.setattr(module, "ThreadPoolExecutor", InlineExecutor)
    monkeypatch.setattr(errors.Unforeseen, "__init__", _foresee)


def _foresee(_self: errors.Unforeseen, problem: BaseException) -> None:
    """Fail the test: no trouble here causes an error that a handler's last resort handles."""
    raise Broken(f"nobody foresaw {problem!r}") from problem
