"""template.yaml for tests: as written, with CloudFormation's short forms (`!Ref x`) spelt out (`{"Ref": "x"}`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from samsocket.template import parse_document

ROOT = Path(__file__).resolve().parents[1]


@cache
def template() -> dict[str, Any]:
    """Return the whole document. It is shared: don't change it."""
    document: dict[str, Any] = parse_document((ROOT / "template.yaml").read_text(encoding="utf-8"))
    return document


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of one type, by logical id."""
    found = template()["Resources"].items()
    return {logical_id: body.get("Properties", {}) for logical_id, body in found if body["Type"] == kind}
