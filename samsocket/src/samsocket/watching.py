"""Tells which functions a change of files concerns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from watchfiles import Change, DefaultFilter, awatch

from samsocket.project.sources import Source

_DEBOUNCE_MS: Final = 100
_IGNORED: Final = (*DefaultFilter.ignore_dirs, ".aws-sam")

_Changes = set[tuple[Change, str]]


@dataclass(frozen=True)
class Changed:
    """What changed: a template, or the code of functions and layers, by logical id."""

    template: bool
    sources: frozenset[str]


class Watching:
    """Watches the files of a project. Use it as an async context manager.

    A folder is watched from the first `look_at` that names it to the end: what is saved while a change is taken over is
    the next change.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._templates: Collection[Path] = ()
        self._sources: list[Source] = []
        self._watched: set[Path] = set()
        self._waiting: dict[asyncio.Task[_Changes], AsyncGenerator[_Changes]] = {}

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the watchers."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def look_at(self, templates: Collection[Path], sources: Iterable[Source]) -> None:
        """Tell changes of these files from now on."""
        self._templates, self._sources = templates, list(sources)
        folders = {*(template.parent for template in templates), *(source.folder for source in self._sources)}
        around = folders | self._watched
        new = {folder for folder in folders if folder.is_dir() and not around & {*folder.parents}} - self._watched
        if new:
            self._watched |= new
            watch_filter = DefaultFilter(ignore_dirs=_IGNORED)
            self._wait_for(awatch(*new, watch_filter=watch_filter, debounce=_DEBOUNCE_MS, step=20))

    def _wait_for(self, watcher: AsyncGenerator[_Changes]) -> None:
        async def found() -> _Changes:
            return await anext(watcher)

        self._waiting[asyncio.create_task(found())] = watcher

    async def changed(self) -> Changed:
        """Return what changed since the last call, a moment after the change."""
        while True:
            done, _ = await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
            paths: set[Path] = set()
            for task in done:
                self._wait_for(self._waiting.pop(task))
                paths |= {Path(path) for _, path in task.result()}
            concerned = {
                source.logical_id
                for source in self._sources
                for path in paths
                if path.is_relative_to(source.folder) and path not in self._templates
            }
            changed = Changed(not paths.isdisjoint(self._templates), frozenset(concerned))
            if changed.template or changed.sources:
                return changed
