"""Rules for all tests: which may open sockets, and which share one embedded stack."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
WITHOUT_SOCKETS = ("unit", "integration", "template", "aws_rules", "operate", "tools")
LOOPBACK = ["127.0.0.1", "::1"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in WITHOUT_SOCKETS:
            item.add_marker(pytest.mark.disable_socket)
        else:
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))
        if folder == "e2e":
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.xdist_group("e2e"))  # on one worker, which starts the stack once
            item.add_marker(pytest.mark.timeout(180))
