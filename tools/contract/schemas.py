"""JSON Schemas of types, with a name for each type and each value that types share."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_type_hints, is_typeddict

import msgspec

from realtime.backend_events import Id, Name
from realtime.contract.values import Acknowledgeable, ErrorCode, EventId, Position, Status, Timestamp

Schema = dict[str, Any]

PREFIX = "#/$defs/"
ENVELOPE = ("type", "data", "timestamp", "id", "version", "ack", "position")  # the order in which messages have them
# Values that have a name of their own; what is written out in a type is recognized by its schema.
SHARED: dict[str, Any] = {
    "Id": Id,
    "Name": Name,
    "EventId": EventId,
    "Timestamp": Timestamp,
    "Position": Position,
    "ErrorCode": ErrorCode,
    "Status": Status,
    "Acknowledgeable": Acknowledgeable,
}
_DESCRIPTIONS = {
    "Id": "Of a user or a call: a whole number, or 1 to 128 characters without a space, `/` or control character.",
    "Name": "1 to 256 characters without control characters.",
    "ErrorCode": "Why the service refuses.",
    "Status": "What a user sets themselves to.",
    "Acknowledgeable": "A type of message that may ask for an acknowledgement.",
}


def reference(name: str) -> Schema:
    """Return a reference to a named schema."""
    return {"$ref": PREFIX + name}


def name_of(schema: Mapping[str, Any]) -> str | None:
    """Return the name that a schema refers to, if it is a reference, perhaps with conditions of its own."""
    target: str | None = schema.get("allOf", [schema])[0].get("$ref")
    return target.rpartition("/")[2] if target else None


def kind_of(message: type, key: str = "type") -> str:
    """Return the `type` of a message or a frame, or another key that tells what it is."""
    (kind,) = get_type_hints(message)[key].__args__
    return str(kind)


def define(types: Iterable[type]) -> dict[str, Schema]:
    """Return the schemas of types and of all that they mention, by name."""
    given = list(types)
    _, raw = msgspec.json.schema_components(given, ref_template=PREFIX + "{name}")
    known = {each.__name__: each for each in _mentioned(given)}
    shared = _shared()
    defined = {name: _finish(known[name], schema, shared) for name, schema in raw.items()}
    used = set(_references(defined.values()))
    return {**{name: schema for name, schema in shared.items() if name in used}, **defined}


def references(schema: Any) -> set[str]:
    """Return the names that a schema refers to, directly."""
    return set(_references([schema]))


def closure(schema: Any, defined: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the named schemas that a schema needs, in the order in which they are defined."""
    needed: set[str] = set()
    todo = references(schema)
    while todo:
        needed |= todo
        todo = {name for each in todo for name in references(defined[each])} - needed
    return {name: each for name, each in defined.items() if name in needed}


def closed(schema: Any) -> Any:
    """Return a schema that accepts no keys which the contract does not name, for tests of what we send ourselves.

    Others must accept them: a later version may add some.
    """
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if schema.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner


def map_schema(schema: Any, change: Any) -> Any:
    """Return a schema in which `change` has been applied to each object, the innermost first."""
    if isinstance(schema, list):
        return [map_schema(each, change) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return change({key: map_schema(value, change) for key, value in schema.items()})


def _mentioned(types: Sequence[type]) -> set[type]:
    """Return types and all types that they mention."""
    found: set[type] = set()
    todo: list[Any] = list(types)
    while todo:
        each = todo.pop()
        if isinstance(each, type) and (is_typeddict(each) or issubclass(each, msgspec.Struct)) and each not in found:
            found.add(each)
            todo += get_type_hints(each).values()
        else:
            todo += [inner for inner in getattr(each, "__args__", ()) if inner is not each]
    return found


def _shared() -> dict[str, Schema]:
    found = {}
    for name, kind in SHARED.items():
        schema = _tidy(msgspec.json.schema(kind))
        found[name] = {"description": _DESCRIPTIONS.get(name, ""), **schema}
    return found


def _finish(kind: type, raw: Schema, shared: Mapping[str, Schema]) -> Schema:
    """Put a type's schema into our form: its keys in their order, shared values by name."""
    hints = list(get_type_hints(kind))
    if {"type", "timestamp"} <= set(hints):  # a message or a frame
        hints.sort(key=lambda key: ENVELOPE.index(key) if key in ENVELOPE else len(ENVELOPE))
    properties = {key: _name_shared(_tidy(raw["properties"][key]), shared) for key in hints}
    schema: Schema = {"description": inspect.cleandoc(kind.__doc__ or ""), "type": "object", "properties": properties}
    if required := [key for key in hints if key in raw["required"]]:
        schema["required"] = required
    if "additionalProperties" in raw:
        schema["additionalProperties"] = raw["additionalProperties"]
    elif issubclass(kind, msgspec.Struct):
        schema["additionalProperties"] = True  # the service passes them on
    return schema


def _tidy(schema: Any) -> Any:
    def change(each: Schema) -> Schema:
        each = {key: value for key, value in each.items() if key != "title" and (key != "default" or value is not None)}
        if isinstance(each.get("enum"), list) and len(each["enum"]) == 1:
            each["const"] = each.pop("enum")[0]
        if "$ref" in each and each.keys() - {"$ref", "description"}:  # older drafts ignore what stands beside a $ref
            each["allOf"] = [{"$ref": each.pop("$ref")}]
        return dict(sorted(each.items(), key=lambda item: item[0] != "description"))

    return map_schema(schema, change)


def _name_shared(schema: Any, shared: Mapping[str, Schema]) -> Any:
    def change(each: Schema) -> Schema:
        bare = {key: value for key, value in each.items() if key != "description"}
        for name, value in shared.items():
            if bare == {key: inner for key, inner in value.items() if key != "description"}:
                says = each.get("description")
                return {
                    **({"description": says} if says not in {None, value["description"]} else {}),
                    **reference(name),
                }
        return each

    return map_schema(schema, change)


def _references(schemas: Iterable[Any]) -> Iterable[str]:
    todo = list(schemas)
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if "$ref" in each and (name := name_of(each)):
                yield name
            todo += [value for key, value in each.items() if key != "$ref"]
        elif isinstance(each, list):
            todo += each
