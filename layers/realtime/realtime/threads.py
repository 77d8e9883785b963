"""Work in threads, for the same invocation: without this, a pool's threads know nothing of what it is about."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def submit(threads: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Let a pool do work that keeps the caller's trace, and its time, after which nothing is tried again."""
    return threads.submit(copy_context().run, partial(work, *args, **kwargs))
