"""A CloudFormation template with the schemas of the bus's events, for EventBridge's registry.

The registry takes OpenAPI 3.0, whose schemas are those of an older JSON Schema.
docs.aws.amazon.com/eventbridge/latest/userguide/eb-schema.html
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from tools.contract.definition import SOURCE, Contract, Said
from tools.contract.documents import VERSION, WARNING
from tools.contract.schemas import PREFIX, Schema, closure, map_schema, name_of

# What EventBridge itself puts into each event.
# docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
_ENVELOPE = {
    "version": {"type": "string"},
    "id": {"type": "string"},
    "account": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
    "region": {"type": "string"},
    "resources": {"type": "array", "items": {"type": "string"}},
}


def event_schemas(contract: Contract) -> str:
    """Return the template, with one schema for each type of event."""
    resources: dict[str, Any] = {
        "Registry": {
            "Type": "AWS::EventSchemas::Registry",
            "Properties": {"Description": {"Fn::Sub": "The events on the bus of ${Bus}."}},
        }
    }
    for said, source in [
        *((each, "backend") for each in contract.from_backends),
        *((each, SOURCE) for each in contract.to_backends),
    ]:
        resources[f"{said.name}Schema"] = {
            "Type": "AWS::EventSchemas::Schema",
            "Properties": {
                "RegistryName": {"Fn::GetAtt": "Registry.RegistryName"},
                "SchemaName": f"{source}@{said.kind}",
                "Description": contract.schemas[said.name]["description"],
                "Type": "OpenApi3",
                "Content": json.dumps(_document(said, source, contract), indent=1, ensure_ascii=False),
            },
        }
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The schemas of the events on the bus, which template.yaml adds with EventSchemas=true.",
        "Parameters": {"Bus": {"Type": "String", "Description": "The name of the bus."}},
        "Resources": resources,
        "Outputs": {
            "RegistryName": {
                "Description": "The registry that has the schemas.",
                "Value": {"Fn::GetAtt": "Registry.RegistryName"},
            }
        },
    }
    return WARNING + yaml.dump(template, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as it is."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _document(said: Said, source: str, contract: Contract) -> Schema:
    """Return an OpenAPI document in the form in which EventBridge writes those that it discovers."""
    event = contract.schemas[said.name]
    detail = event["properties"]["detail"]
    kinds = {"x-amazon-events-detail-type": said.kind}
    if source == SOURCE:
        kinds["x-amazon-events-source"] = SOURCE
    schemas = {
        "AWSEvent": {
            "type": "object",
            "required": [*_ENVELOPE, "detail-type", "source", "detail"],
            **kinds,
            "properties": {**_ENVELOPE, **event["properties"]},
        },
        **closure(detail, contract.schemas),
    }
    return {
        "openapi": "3.0.0",
        "info": {"version": VERSION, "title": said.kind},
        "paths": {},
        "components": {"schemas": map_schema(schemas, _as_openapi)},
    }


_NULL = {"type": "null"}


def _as_openapi(schema: Schema) -> Schema:
    """Return a schema in the words of OpenAPI 3.0; conditions on other keys are left out, for it has none."""
    changed = {key: value for key, value in schema.items() if key not in {"if", "then"}}
    if "const" in changed:
        value = changed.pop("const")
        changed |= {"type": "boolean" if isinstance(value, bool) else "string", "enum": [value]}
    elif "enum" in changed:
        changed.setdefault("type", "string")
    if "exclusiveMinimum" in changed:
        changed |= {"minimum": changed["exclusiveMinimum"], "exclusiveMinimum": True}
    if _NULL in changed.get("anyOf", []):
        choices = [each for each in changed.pop("anyOf") if each != _NULL]
        is_plain = len(choices) == 1 and "$ref" not in choices[0]
        changed |= {**(choices[0] if is_plain else {"anyOf": choices}), "nullable": True}
    if str(changed.get("$ref", "")).startswith(PREFIX):
        target = {"$ref": f"#/components/schemas/{name_of(changed)}"}
        says = changed.get("description")
        return {"description": says, "allOf": [target]} if says else target
    return changed
