"""Writes the contract's files: `python -m tools.contract`; with `--check` it only says which of them are old."""

from __future__ import annotations

import sys

from operate.state import ROOT
from tools.contract import documents
from tools.contract.definition import contract
from tools.contract.event_schemas import event_schemas
from tools.contract.page import page
from tools.contract.python import python
from tools.contract.typescript import typescript

# Where the clients have their types.
TYPESCRIPT = "clients/typescript/src/messages.js"
PYTHON = "clients/python/src/listener_realtime/messages.py"


def files() -> dict[str, str]:
    """Return all files that are made of the contract: their text, by their path below the repository."""
    whole = contract()
    return {
        **{f"contract/schemas/{name}": text for name, text in documents.json_schemas(whole).items()},
        "contract/asyncapi.yaml": documents.asyncapi(whole),
        "contract/event-schemas.yaml": event_schemas(whole),
        "docs/protocol.md": page(whole),
        TYPESCRIPT: typescript(whole),
        PYTHON: python(whole),
    }


def main() -> int:
    """Write the files, or say which of them are old."""
    old = 0
    for name, text in files().items():
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        old += 1
        print(name)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return old if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
