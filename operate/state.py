"""The folder in which a running stack keeps its state and its logs: by default `.realtime` in the repository."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from operate.errors import AlreadyRunningError, NotRunningError

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""

PRIVATE = 0o700
"""The mode of folders that other users of the machine must not read."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A stack that runs or is about to. `realtime status --json` prints these fields, except for the access key.

    The key is made for this run and has the rights of the emulator's root: with it, a program can run code as this
    machine's user.
    """

    state: Literal["starting", "ready"]
    pid: int
    stack: str
    region: str
    websocket_url: str
    management_url: str
    aws_endpoint_url: str
    page_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    bus: str = ""
    outputs: dict[str, str] = field(default_factory=dict)

    def public_fields(self) -> dict[str, Any]:
        """Return the fields that anybody may see."""
        facts = dataclasses.asdict(self)
        del facts["access_key"], facts["secret_key"]
        return facts


class StateFolder:
    """One stack's folder. A lock on a file in it, which ends with its holder, tells whether the stack runs."""

    def __init__(self, path: Path) -> None:
        """Take a folder, which need not exist yet."""
        self.path = path.resolve()
        self._file = self.path / "state.json"
        self._lock = self.path / "lock"

    @property
    def logs(self) -> Path:
        """Return the folder with the logs of the last start."""
        return self.path / "logs"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one stack, from an empty state.

        Raises:
            AlreadyRunningError: another process holds it.
        """
        self.path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        self.logs.chmod(PRIVATE)
        with self._lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunningError(self.path) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._file.unlink(missing_ok=True)
            for log in self.logs.glob("*.log"):
                log.unlink()
            try:
                yield
            finally:
                self._file.unlink(missing_ok=True)

    def holder(self) -> int | None:
        """Return the process that runs a stack from this folder, or None."""
        if not self._lock.exists():
            return None
        with self._lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())
        return None

    def write(self, running: Running) -> None:
        """Write the state so that this user of the machine alone can read it; readers never see a partial file."""
        draft = self._file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(json.dumps(dataclasses.asdict(running), indent=2), encoding="utf-8")
        os.replace(draft, self._file)  # noqa: PTH105 - Path.replace says nothing of being atomic

    def read(self) -> Running | None:
        """The stack that runs from this folder, or None."""
        if self.holder() is None:
            return None
        try:
            return Running(**json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def ready(self) -> Running:
        """The stack that runs from this folder and is ready.

        Raises:
            NotRunningError: there is none yet, or none any longer.
        """
        running = self.read()
        if running is None or running.state != "ready":
            raise NotRunningError(self.path)
        return running
