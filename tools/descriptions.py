"""Makes lean copies of botocore's service descriptions for the layer: of the operations that we call, without texts.

botocore reads a service's whole description to make its client: 1.4 MB of JSON for SSM, of which one operation is
called. `python -m tools.descriptions` (part of `make lock`) writes the copies anew; a test holds them to botocore's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from botocore.loaders import Loader

from operate.state import ROOT

FOLDER = ROOT / "layers" / "realtime" / "realtime" / "aws" / "descriptions"
OPERATIONS = {
    "dynamodb": (
        "BatchGetItem",
        "BatchWriteItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "Scan",
        "TransactWriteItems",
        "UpdateItem",
    ),
    "secretsmanager": ("GetSecretValue",),
    "ssm": ("GetParameter",),
}
_TEXTS = frozenset({"documentation", "documentationUrl", "deprecatedMessage"})
_TYPES = "service-2"


def lean(description: dict[str, Any], operations: Iterable[str]) -> dict[str, Any]:
    """Return the part of a service's description that these operations need."""
    kept = {name: _without_texts(description["operations"][name]) for name in operations}
    shapes: dict[str, Any] = {}
    wanted = list(_shapes_of(kept))
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = _without_texts(description["shapes"][name])
            wanted += _shapes_of(shapes[name])
    rest = {name: value for name, value in description.items() if name not in {"operations", "shapes", *_TEXTS}}
    return {**rest, "operations": kept, "shapes": dict(sorted(shapes.items()))}


def written() -> dict[Path, str]:
    """Return what each file of the folder should hold."""
    loader = Loader()
    files = {}
    for service, operations in OPERATIONS.items():
        version = loader.determine_latest_version(service, _TYPES)
        description = lean(loader.load_service_model(service, _TYPES, version), operations)
        files[FOLDER / service / version / f"{_TYPES}.json"] = json.dumps(description, indent=1) + "\n"
    return files


def _without_texts(value: Any) -> Any:
    if isinstance(value, dict):
        # A "documentation" that is no text is a member of a shape.
        return {k: _without_texts(v) for k, v in value.items() if not (k in _TEXTS and isinstance(v, str))}
    return [_without_texts(each) for each in value] if isinstance(value, list) else value


def _shapes_of(value: Any) -> Iterator[str]:
    """Yield the names of the shapes that a part of a description refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("shape"), str):
            yield value["shape"]
        for each in value.values():
            yield from _shapes_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from _shapes_of(each)


def main() -> None:
    """Write the copies."""
    for path, text in written().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
