"""The map at the top of the layer names every module."""

from __future__ import annotations

from pathlib import Path

import realtime


def test_the_map_names_every_module_and_folder_of_the_layer() -> None:
    folder = Path(realtime.__path__[0])
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert realtime.__doc__ is not None
    words = set(realtime.__doc__.replace("/", " ").replace("`", " ").replace(",", " ").replace(";", " ").split())
    assert {name for name in names - {"__init__"} if name not in words} == set()
