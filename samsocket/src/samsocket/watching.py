"""Tells which functions a change of files concerns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchfiles import DefaultFilter, awatch

from samsocket.project.sources import Source

_DEBOUNCE_MS: Final = 100
_IGNORED: Final = (*DefaultFilter.ignore_dirs, ".aws-sam")


@dataclass(frozen=True)
class Changed:
    """What changed: a template, or the code of functions and layers, by logical id."""

    template: bool
    sources: frozenset[str]


async def changes(templates: Collection[Path], sources: Iterable[Source]) -> AsyncIterator[Changed]:
    """Yield what changes, a moment after each change."""
    known = list(sources)
    folders = {*(template.parent for template in templates), *(source.folder for source in known)}
    watched = [folder for folder in folders if folder.is_dir() and not folders & set(folder.parents)]
    async for found in awatch(
        *watched, watch_filter=DefaultFilter(ignore_dirs=_IGNORED), debounce=_DEBOUNCE_MS, step=20, force_polling=None
    ):
        paths = {Path(path) for _, path in found}
        concerned = {
            source.logical_id
            for source in known
            for path in paths
            if path.is_relative_to(source.folder) and path not in templates
        }
        changed = Changed(not paths.isdisjoint(templates), frozenset(concerned))
        if changed.template or changed.sources:
            yield changed
