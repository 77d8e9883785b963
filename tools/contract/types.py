"""How schemas are written as types of a language. Conditions that types cannot express are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tools.contract.schemas import Schema, name_of


@dataclass(frozen=True, slots=True)
class Language:
    """The words of a language."""

    words: Mapping[str | None, str]  # for the simple types of JSON Schema; None: anything
    literals: Callable[[list[Any]], str]
    array: Callable[[str], str]
    mapping: Callable[[str], str]
    either: str = " | "

    def type_of(self, schema: Any) -> str:
        """Return the type of a schema."""
        if name := name_of(schema):
            return name
        if (choices := schema.get("oneOf") or schema.get("anyOf")) and "type" not in schema:
            return self.either.join(dict.fromkeys(self.type_of(each) for each in choices))
        if "const" in schema or "enum" in schema:
            return self.literals(schema.get("enum") or [schema["const"]])
        return self._plain(schema)

    def _plain(self, schema: Schema) -> str:
        match schema.get("type"):
            case "array":
                return self.array(self.type_of(schema["items"]))
            case "object":
                values = schema.get("additionalProperties")
                return self.mapping(self.type_of(values if isinstance(values, dict) else {}))
            case kind:
                return self.words[kind]
