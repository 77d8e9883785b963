"""Work in threads has the trace and the time of the invocation that it is done for."""

from __future__ import annotations

import ast
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import realtime
from realtime import trace
from realtime.aws import retries
from realtime.threads import submit

LAYER = Path(realtime.__path__[0])


def test_work_in_a_thread_keeps_the_trace_and_the_time_of_who_submitted_it() -> None:
    def work(number: int, *, then: int) -> tuple[str, float, int]:
        assert threading.current_thread() is not threading.main_thread()
        return trace.current(), retries.latest(), number + then

    with ThreadPoolExecutor(1) as threads:
        with trace.of("one"), retries.none():
            first = submit(threads, work, 1, then=2)
        second = submit(threads, work, 3, then=4)
        assert (first.result(), second.result()) == (("one", -math.inf, 3), ("", math.inf, 7))


@pytest.mark.parametrize("path", sorted(LAYER.rglob("*.py")), ids=lambda path: str(path.relative_to(LAYER)))
def test_nothing_else_gives_work_to_a_pool(path: Path) -> None:
    if path == LAYER / "threads.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = [each.func for each in ast.walk(tree) if isinstance(each, ast.Call)]
    given = [f"{ast.unparse(each.value)}.{each.attr}" for each in called if isinstance(each, ast.Attribute)]
    assert not [each for each in given if each.endswith((".submit", "threads.map", "pool.map"))]
