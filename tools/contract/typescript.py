"""The types of the TypeScript client, as the JSDoc comments from which tsc makes its declarations."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from tools.contract.definition import Contract
from tools.contract.schemas import ENVELOPE, Schema, closure, reference
from tools.contract.types import Language

_NAME = re.compile(r"[A-Za-z_]\w*")
_TYPESCRIPT = Language(
    words={"string": "string", "integer": "number", "boolean": "boolean", "null": "null", None: "unknown"},
    literals=lambda values: " | ".join(map(json.dumps, values)),
    array=lambda inner: f"({inner})[]" if "|" in inner else f"{inner}[]",
    mapping=lambda values: f"Record<string, {values}>",
)
_HEAD = """\
/**
 * The frames that the service sends and receives: `switch (message.type)` narrows `message.data`.
 *
 * Written by `python -m tools.contract`: do not edit.
 */
"""


def typescript(contract: Contract) -> str:
    """Return the text of messages.js."""
    roots = {"oneOf": [reference("ServerFrame"), reference("ClientFrame")]}
    defined = closure(roots, contract.schemas)
    messages = {each.name for each in contract.received}
    frames = {each.name for each in contract.sent}
    blocks = [_typedef(name, schema, name in messages, name in frames) for name, schema in defined.items()]
    return "\n".join([_HEAD, *blocks, "export {};\n"])


def _typedef(name: str, schema: Schema, is_message: bool, is_frame: bool) -> str:  # noqa: FBT001
    says = schema["description"]
    if "properties" not in schema:
        return _comment(says, [f"@typedef {{{_TYPESCRIPT.type_of(schema)}}} {name}"])
    if is_message or is_frame:  # on one line, for a union's members are compared side by side
        absent = [key for key in ENVELOPE if key not in schema["properties"]] if is_message else []
        return _comment(says, [f"@typedef {{{_object(schema, absent)}}} {name}"])
    if schema.get("additionalProperties") is True:  # an index signature has no JSDoc of its own
        return _comment(says, [f"@typedef {{{_object(schema)}}} {name}"])
    required = schema.get("required", [])
    properties = []
    for key, each in schema["properties"].items():
        shown = key if key in required else f"[{key}]"
        properties.append(f"@property {{{_TYPESCRIPT.type_of(each)}}} {shown} {each.get('description', '')}".rstrip())
    return _comment(says, [f"@typedef {{object}} {name}", *properties])


def _comment(says: str, lines: list[str]) -> str:
    text = "\n".join(f" * {line}".rstrip() for line in [*([says, ""] if says else []), *lines])
    return f"/**\n{text}\n */\n"


def _object(schema: Schema, absent: Sequence[str] = ()) -> str:
    required = schema.get("required", [])
    members = [
        f"{_key(key)}{'' if key in required else '?'}: {_TYPESCRIPT.type_of(each)}"
        for key, each in schema["properties"].items()
    ]
    members += [f"{key}?: undefined" for key in absent]
    if schema.get("additionalProperties") is True:
        members.append("[key: string]: unknown")
    return f"{{ {', '.join(members)} }}"


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)
