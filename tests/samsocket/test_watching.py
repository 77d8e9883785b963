"""What a run hears of changes of files."""

from __future__ import annotations

import asyncio
from pathlib import Path

from samsocket.project.sources import Source
from samsocket.watching import Changed, Watching

WITHIN = 30.0


def save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def test_what_is_saved_while_a_change_is_taken_over_is_the_next_change(tmp_path: Path) -> None:
    template, code, other = (tmp_path / name for name in ("app/template.yaml", "app/src/app.py", "other/app.py"))
    for path in (template, code, other):
        save(path, "1")
    sources = [Source("Fn", code.parent, None, is_live=True), Source("Other", other.parent, None, is_live=True)]
    async with asyncio.timeout(WITHIN), Watching() as watching:
        watching.look_at({template}, sources[:1])
        await asyncio.sleep(0.5)  # until the first watcher is there
        save(template, "2")
        assert await watching.changed() == Changed(True, frozenset())
        watching.look_at({template}, sources)
        save(code, "2")
        await asyncio.sleep(1)  # the deployment: nobody asks
        assert await watching.changed() == Changed(False, frozenset({"Fn"}))
        save(other, "2")
        assert await watching.changed() == Changed(False, frozenset({"Other"}))
