"""The variables by which other programs reach the emulator of a run: a file that only this user can read."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from samsocket.environments import home
from samsocket.errors import StartError


def folder_of(template: Path) -> Path:
    """Return the folder of a project below ours, which its name and a digest of its place name."""
    return home() / "projects" / f"{template.parent.name}-{hashlib.sha256(str(template).encode()).hexdigest()[:12]}"


@contextmanager
def told(template: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Let `samsocket env` tell the variables of a template's run while the context is open."""
    file = folder_of(template) / "env"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def exports(template: Path) -> str:
    """Return the lines that set the variables of a template's run.

    Raises:
        StartError: it does not run.
    """
    file = folder_of(template) / "env"
    if not file.is_file():
        raise StartError(f"{template} does not run: start it with samsocket up")
    return file.read_text(encoding="utf-8")
