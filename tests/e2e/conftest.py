"""One embedded stack for all end-to-end tests: the real template, deployed by the real SAM CLI, with real policies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.embedded_stack import embedded_stack
from harness.stack import Stack, Witness
from operate.state import StateFolder
from tests.support import contract

PARAMETERS = {
    # Short enough to wait for, long enough not to expire by chance.
    "GracePeriodSeconds": "4",
    "LeaseSeconds": "60",
    "MaxConnectionsPerUser": "5",
}

LAST = Path(__file__).with_name("test_logs.py")


class Contract(Witness):
    """Holds all that is said to the contract: a run of these tests is a test of it."""

    def heard(self, text: str) -> None:
        contract.check_heard(text)

    def sent(self, frame: dict[str, Any]) -> None:
        contract.check_sent(frame)

    def published(self, kind: str, detail: dict[str, Any]) -> None:
        contract.check_published(kind, detail)

    def told(self, event: dict[str, Any]) -> None:
        contract.check_told(event)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests of all other tests' logs to the end."""
    items.sort(key=lambda item: item.path == LAST)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, ready: the session's own, or one with these parameters that runs from REALTIME_E2E_STATE."""
    if given := os.environ.get("REALTIME_E2E_STATE"):
        folder = StateFolder(Path(given))
        yield Stack(folder, folder.ready(), PARAMETERS, Contract())
        return
    with embedded_stack(tmp_path_factory.mktemp("stack"), PARAMETERS) as (folder, running):
        yield Stack(folder, running, PARAMETERS, Contract())
