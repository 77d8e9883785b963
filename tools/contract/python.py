"""The types of a Python client, as TypedDicts."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

from operate.state import ROOT
from realtime.messages import ENDPOINTS
from tools.contract.definition import Contract
from tools.contract.schemas import ENVELOPE, Schema, closure, name_of, reference
from tools.contract.types import Language

_PYTHON = Language(
    words={"string": "str", "integer": "int", "boolean": "bool", "null": "None", None: "Any"},
    literals=lambda values: f"Literal[{', '.join(map(_literal, values))}]",
    array=lambda inner: f"list[{inner}]",
    mapping=lambda values: f"dict[str, {values}]",
)
_HEAD = '''\
"""The frames that the service sends and receives, the details of events on the bus, and what `admin` is asked.

Written by `python -m tools.contract`: do not edit. A message may have keys that its type does not name, and has none
that its type says to be `NotRequired[None]`.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict
'''


def python(contract: Contract) -> str:
    """Return the text of a module."""
    events = [reference(each.name) for each in (*contract.from_backends, *contract.to_backends)]
    of_admin = [*(reference(each.name) for each in contract.asked), *map(reference, contract.answered)]
    roots = [reference("ServerFrame"), reference("ClientFrame"), *events, *of_admin]
    defined = closure({"oneOf": roots}, {**contract.schemas, **contract.of_admin})
    for each in events:
        del defined[str(name_of(each))]  # only their details: EventBridge's own keys are no identifiers
    values = {name: schema for name, schema in defined.items() if "properties" not in schema and "oneOf" not in schema}
    frame = [f"ServerFrame = {_PYTHON.type_of(values.pop('ServerFrame'))}"]
    classes = {name: schema for name, schema in defined.items() if "properties" in schema}
    aliases = [f"{name} = {_PYTHON.type_of(schema)}" for name, schema in values.items()]
    messages = {each.name for each in contract.received}
    bodies = [_class(name, schema, is_message=name in messages) for name, schema in classes.items()]
    aliases.append(f"Endpoint = {_PYTHON.literals(list(ENDPOINTS))}")
    unions = [_union(name, schema) for name, schema in defined.items() if "oneOf" in schema]
    text = "\n".join([_HEAD, *aliases, "", "", "\n\n\n".join(bodies), "", "", *unions, *frame])
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "messages.py", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def _union(name: str, schema: Schema) -> str:
    return f"{name} = ({' | '.join(_PYTHON.type_of(each) for each in schema['oneOf'])})"


def _class(name: str, schema: Schema, *, is_message: bool) -> str:
    required = schema.get("required", [])
    says = textwrap.wrap(schema["description"], 100, break_long_words=False, break_on_hyphens=False)
    end = "" if len(says) == 1 else "\n    "
    lines = [f"class {name}(TypedDict):", '    """' + "\n    ".join(says) + f'{end}"""', ""]
    for key, each in schema["properties"].items():
        kind = _PYTHON.type_of(each)
        lines.append(f"    {key}: {kind if key in required else f'NotRequired[{kind}]'}")
    if is_message:  # so that a message of any type can be asked for any key of the envelope
        lines += [f"    {key}: NotRequired[None]" for key in ENVELOPE if key not in schema["properties"]]
    return "\n".join(lines).rstrip()


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)
