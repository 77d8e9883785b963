"""Which folder may import which: the layers of this repository, as CONTRIBUTING.md draws them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloudformation import ROOT

FUNCTIONS = {path.stem for path in (ROOT / "functions").glob("*.py")}
PACKAGES = {
    "realtime",
    "listener_realtime",
    "aws_rules",
    "bench",
    "harness",
    "local",
    "operate",
    "samples",
    "samsocket",
    "tests",
    "tools",
}
ALLOWED: dict[str, set[str]] = {
    "layers/realtime/realtime": {"realtime"},
    "functions": {"realtime"},
    "samsocket/src": {"samsocket"},  # it serves any template
    "aws_rules": {"aws_rules"},
    "clients/python/src": {"listener_realtime"},
    "samples": set(),
    "operate": {"operate", "realtime", "listener_realtime"},
    "local": {"local", "samsocket", "operate"},
    "tools": {"tools", "aws_rules", "harness", "operate", "realtime"},
    "harness": {"harness", "local", "operate", "samsocket"},
    "bench": {*PACKAGES, *FUNCTIONS} - {"samples", "tests"},
    "tests": {*PACKAGES, *FUNCTIONS} - {"bench"},
}
EXCEPTIONS = {"operate/commands/stack.py": {"local"}}  # `realtime up` starts the embedded stack


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level package of each import in a module, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_the_folders_below_it(folder: str) -> None:
    ours = PACKAGES | FUNCTIONS
    for path in (ROOT / folder).rglob("*.py"):
        name = str(path.relative_to(ROOT))
        assert set(imported(path)) & ours <= ALLOWED[folder] | EXCEPTIONS.get(name, set()), name


def test_every_folder_with_code_has_a_rule() -> None:
    visible = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    with_code = {folder.name for folder in visible if next(folder.rglob("*.py"), None)}
    assert with_code == {folder.partition("/")[0] for folder in ALLOWED}
