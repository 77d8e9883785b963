"""One embedded stack for all end-to-end tests: the real template, deployed by the real SAM CLI, with real policies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.starting import embedded_stack
from tests.e2e.support import Stack

PARAMETERS = {
    # Short enough to wait for, long enough not to be met by chance.
    "GracePeriodSeconds": "4",
    "LeaseSeconds": "10",
    "MaxConnectionsPerUser": "5",
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, ready."""
    with embedded_stack(tmp_path_factory.mktemp("stack"), PARAMETERS) as (folder, running):
        yield Stack(folder, running, PARAMETERS)
