"""The sample events of the folder `events`, for all tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "events"
KEY_ID = "sample"
SECRET = "the secret of the samples, which signs nothing else"


def names(function: str = "*") -> list[str]:
    """Return the names of the samples of one function, or of all."""
    return sorted(path.stem for path in FOLDER.glob(f"{function}.json")) + sorted(
        path.stem for path in FOLDER.glob(f"{function}.*.json") if function != "*"
    )


def sample(name: str) -> dict[str, Any]:
    """Return a fresh copy of a sample."""
    event: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return event
