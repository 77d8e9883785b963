"""A cold start pays for every import, so no function loads a module that it does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.cold_start import ENVIRONMENT, FIRST, code_of
from tests.cloudformation import ROOT

DEAR = frozenset({"boto3", "cryptography", "jwt", "msgspec", "pycurl", "asyncio", "realtime.contract"})
USED = {
    "connect": {"jwt", "cryptography"},
    "ingest": {"msgspec"},
    "broadcast": {"pycurl"},
    "sweep": {"pycurl"},
    "farewell": {"pycurl"},
    "late": {"pycurl"},
}


@pytest.mark.parametrize("function", FIRST)
def test_a_function_loads_only_what_it_uses(function: str) -> None:
    code = f"{code_of(function)}; import sys; print(*sys.modules)"
    path = ":".join(str(ROOT / folder) for folder in ("functions", "layers/realtime"))
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**ENVIRONMENT, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert DEAR & set(ended.stdout.split()) == USED.get(function, set())


def test_every_function_is_measured() -> None:
    assert set(FIRST) == {path.stem for path in (ROOT / "functions").glob("*.py")}
