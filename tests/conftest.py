"""Rules for all tests: which may open sockets, and which share one embedded stack."""

from __future__ import annotations

import gc
import signal
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.frames import with_room

TESTS = Path(__file__).parent
WITHOUT_SOCKETS = ("unit", "integration", "template", "aws_rules", "operate", "tools", "fuzz")
LOOPBACK = ["127.0.0.1", "::1"]
COMPUTING = ("aws_rules", "chaos", "model")  # minutes of one core, where cores are slow
NESTED = (*COMPUTING, "integration")  # their calls are nested deeply
# They wait for other processes, which a busy machine may hold up for longer than any deadline. What fails is tried once
# more, and the summary counts it as rerun.
TRIED_AGAIN = ("clients", "e2e", "engine", "gateway", "local", "samsocket")


TOGETHER = ("test_verify.py", "test_many_blocks.py")  # they share a run of `verify`, or thousands of blocks


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # Any, as its package has no types
    """Gives a worker one test at a time, but some files together.

    Of two workers one has all end-to-end tests of the common stack. They wait a lot, while the other worker computes;
    two such stacks would make each other slow, on two cores so slow that clients are closed as stragglers.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if "/e2e/" in file and self.numnodes <= 2:
            return "e2e"
        return file if file.endswith(TOGETHER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Decide which worker runs which tests. With pytest 9, xdist 3.8 does not see the marks of its own groups."""
    return Scheduling(config, log)


def pytest_configure() -> None:
    """Heed Ctrl-C, and collect less garbage.

    A shell lets what it runs in the background ignore Ctrl-C, and so would each process of a test.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.set_threshold(50_000, 20, 50)  # there is much that lives, and each full collection looks through it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in WITHOUT_SOCKETS:
            item.add_marker(pytest.mark.disable_socket)
        else:
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))
        if folder in TRIED_AGAIN:
            item.add_marker(pytest.mark.flaky(reruns=1))
        if folder in COMPUTING:
            item.add_marker(pytest.mark.timeout(900))
        if folder == "e2e":
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(360))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call the tests of some folders with room for many frames."""
    if pyfuncitem.path.relative_to(TESTS).parts[0] not in NESTED:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in signature(pyfuncitem.obj).parameters}
    with_room(lambda: pyfuncitem.obj(**arguments))
    return True
