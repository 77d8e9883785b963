"""The stack that one set of parameters yields: conditions decided, functions resolved, names at their longest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from aws_rules.documents import Document, transformed
from aws_rules.parameters import ACCOUNT, ParameterSet

_VARIABLE: Final = re.compile(r"\$\{(!?)([^}]+)\}")
_NO_VALUE: Final = {"Ref": "AWS::NoValue"}
STACK_UUID: Final = "2f1b9c3e-1111-4222-8333-444455556666"
# How long the names may be that CloudFormation makes: the stack's name, the logical id and 12 characters, cut to fit.
_NAME_LENGTHS: Final = {
    "AWS::Lambda::Function": 64,
    "AWS::IAM::Role": 64,
    "AWS::SQS::Queue": 80,
    "AWS::Events::Rule": 64,
    "AWS::CodeDeploy::Application": 100,
}
_NAMED_BY: Final = {"AWS::ApiGatewayV2::DomainName": ("DomainName",), "AWS::Lambda::LayerVersion": ("LayerName",)}
_PART_OF: Final = {
    "AWS::Events::Rule": "EventBusName",
    "AWS::Lambda::Alias": "FunctionName",
    "AWS::Lambda::Version": "FunctionName",
}
# What Ref (None) and GetAtt give. "*" is any other attribute; where there is none, it is the id or the name.
_KNOWN_BY_IDS: Final = ("AWS::ApiGatewayV2::", "AWS::AppConfig::")
_HERE: Final = "{region}:{account}"
_PHYSICAL: Final[dict[tuple[str, str | None], str]] = {
    ("AWS::ApiGatewayV2::Api", "ApiEndpoint"): "wss://{id}.execute-api.{region}.amazonaws.com",
    ("AWS::ApiGatewayV2::DomainName", None): "{name}",
    ("AWS::ApiGatewayV2::DomainName", "RegionalDomainName"): "d-{id}.execute-api.{region}.amazonaws.com",
    ("AWS::ApiGatewayV2::DomainName", "RegionalHostedZoneId"): "Z1D633PJN98FT9",
    ("AWS::ApiGatewayV2::Stage", None): "{name}",
    ("AWS::AppConfig::HostedConfigurationVersion", None): "99999",
    ("AWS::CloudFront::Distribution", "DomainName"): "d111111abcdef8.cloudfront.net",
    ("AWS::CloudFront::Function", "*"): "arn:aws:cloudfront::{account}:function/{name}",
    ("AWS::DynamoDB::Table", "Arn"): f"arn:aws:dynamodb:{_HERE}:table/{{name}}",
    ("AWS::DynamoDB::Table", "StreamArn"): f"arn:aws:dynamodb:{_HERE}:table/{{name}}/stream/2026-11-26T02:00:00.000",
    ("AWS::Events::EventBus", "Arn"): f"arn:aws:events:{_HERE}:event-bus/{{name}}",
    ("AWS::Events::Rule", "Arn"): f"arn:aws:events:{_HERE}:rule/{{of}}{{name}}",
    ("AWS::IAM::Role", "Arn"): "arn:aws:iam::{account}:role/{name}",
    ("AWS::Lambda::Alias", "*"): f"arn:aws:lambda:{_HERE}:function:{{of}}:{{name}}",
    ("AWS::Lambda::Function", "Arn"): f"arn:aws:lambda:{_HERE}:function:{{name}}",
    ("AWS::Lambda::LayerVersion", "*"): f"arn:aws:lambda:{_HERE}:layer:{{name}}:99999",
    ("AWS::Lambda::Version", "*"): f"arn:aws:lambda:{_HERE}:function:{{of}}:99999",
    ("AWS::Lambda::Version", "Version"): "99999",
    ("AWS::Logs::LogGroup", "Arn"): f"arn:aws:logs:{_HERE}:log-group:{{name}}:*",
    ("AWS::SecretsManager::Secret", "*"): f"arn:aws:secretsmanager:{_HERE}:secret:{{name}}-AbCdEf",
    ("AWS::SQS::Queue", None): "https://sqs.{region}.amazonaws.com/{account}/{name}",
    ("AWS::SQS::Queue", "Arn"): f"arn:aws:sqs:{_HERE}:{{name}}",
}


@dataclass(frozen=True)
class Resource:
    """One resource that exists under a set's conditions. It still contains its references to other resources."""

    logical_id: str
    type: str
    properties: Mapping[str, Any]
    attributes: Mapping[str, Any]  # DependsOn, Metadata, DeletionPolicy, …

    @property
    def depends_on(self) -> list[str]:
        """The resources that it waits for by DependsOn."""
        return as_list(self.attributes.get("DependsOn", []))


def as_list(value: Any) -> list[Any]:
    """The value as a list: a single value becomes a list of one."""
    return value if isinstance(value, list) else [value]


def references(value: Any) -> Iterator[tuple[str, str | None]]:
    """The resources that a value refers to, each with the attribute (none for Ref)."""
    match value:
        case {"Ref": str(name)} if len(value) == 1:
            yield name, None
        case {"Fn::GetAtt": [str(name), str(attribute)]} if len(value) == 1:
            yield name, attribute
        case dict():
            for each in value.values():
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)
        case _:
            pass


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """All text within a value, each with the path to it."""
    match value:
        case str():
            yield path, value
        case dict():
            for name, each in value.items():
                yield from texts(each, f"{path}.{name}" if path else str(name))
        case list():
            for index, each in enumerate(value):
                yield from texts(each, f"{path}[{index}]")
        case _:
            pass


class Stack:
    """A stack of this template, as CloudFormation would see it before it makes anything."""

    def __init__(
        self, document: Document, chosen: ParameterSet, *, code: str = "1", layer: str = "1", uuid: str = STACK_UUID
    ) -> None:
        """Transform the template and decide its conditions.

        Raises:
            samtranslator's InvalidDocumentException: SAM refuses the template.
        """
        self.parameters = chosen
        self.values = chosen.values(document)
        self.region = chosen.region
        self._uuid = uuid
        self.template = transformed(document, self.values, chosen.region, code=code, layer=layer)
        self._pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::Region": chosen.region,
            "AWS::StackId": f"arn:aws:cloudformation:{chosen.region}:{ACCOUNT}:stack/{chosen.stack}/{uuid}",
            "AWS::StackName": chosen.stack,
            "AWS::URLSuffix": "amazonaws.com",
        }
        self._conditions = self.template.get("Conditions", {})

    @cached_property
    def resources(self) -> dict[str, Resource]:
        """The resources that the stack creates, by logical id."""
        return {
            logical_id: Resource(
                logical_id,
                body["Type"],
                self.resolve(body.get("Properties", {})),
                {name: self.resolve(value) for name, value in body.items() if name not in ("Type", "Properties")},
            )
            for logical_id, body in self.template["Resources"].items()
            if "Condition" not in body or self.holds(body["Condition"])
        }

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The outputs' values, by name."""
        return {
            name: self.resolve(body["Value"])
            for name, body in self.template.get("Outputs", {}).items()
            if "Condition" not in body or self.holds(body["Condition"])
        }

    def of_type(self, kind: str) -> list[Resource]:
        """All resources of one type."""
        return [resource for resource in self.resources.values() if resource.type == kind]

    def referred(self, value: Any, kind: str) -> Resource | None:
        """The first resource of a type that a value refers to."""
        found = (self.resources.get(name) for name, _ in references(value))
        return next((resource for resource in found if resource and resource.type == kind), None)

    # ---- conditions and functions -----------------------------------------------------------------------------------

    def holds(self, condition: Any) -> bool:
        """Whether a condition, or the name of one, is true."""
        match condition:
            case str():
                return self.holds(self._conditions[condition])
            case {"Condition": str(name)}:
                return self.holds(name)
            case {"Fn::Not": [inner]}:
                return not self.holds(inner)
            case {"Fn::And": [*inner]}:
                return all(self.holds(each) for each in inner)
            case {"Fn::Or": [*inner]}:
                return any(self.holds(each) for each in inner)
            case {"Fn::Equals": [one, other]}:
                return str(self.resolve(one)) == str(self.resolve(other))
        raise ValueError(f"no condition: {condition}")

    def resolve(self, value: Any) -> Any:  # noqa: C901, PLR0911 - a table, in effect
        """A value with all functions resolved but those that refer to resources."""
        match value:
            case {"Ref": str(name)} if len(value) == 1:
                return self.values.get(name, self._pseudo.get(name, value))
            case {"Fn::GetAtt": str(text)}:
                return {"Fn::GetAtt": text.split(".", 1)}
            case {"Fn::If": [str(name), then, otherwise]}:
                return self.resolve(then if self.holds(name) else otherwise)
            case {"Fn::FindInMap": [str(mapping), key, part]}:
                return self.template["Mappings"][mapping][self.resolve(key)][self.resolve(part)]
            case {"Fn::Sub": str(text)}:
                return self._substitute(text, {})
            case {"Fn::Sub": [str(text), dict(variables)]}:
                return self._substitute(text, variables)
            case {"Fn::Join": [str(between), [*parts]]}:
                return self._join(between, [self.resolve(part) for part in parts])
            case {"Fn::Split": [str(between), text]}:
                resolved = self.resolve(text)
                return resolved.split(between) if isinstance(resolved, str) else {"Fn::Split": [between, resolved]}
            case {"Fn::Select": [index, options]}:
                chosen = self.resolve(options)
                return chosen[int(index)] if isinstance(chosen, list) else {"Fn::Select": [index, chosen]}
            case dict():
                return {name: done for name, each in value.items() if (done := self.resolve(each)) != _NO_VALUE}
            case list():
                return [done for each in value if (done := self.resolve(each)) != _NO_VALUE]
        return value

    def _substitute(self, text: str, variables: Mapping[str, Any]) -> Any:
        parts: list[Any] = []
        end = 0
        for found in _VARIABLE.finditer(text):
            parts.append(text[end : found.start()])
            literal, name = found.groups()
            end = found.end()
            if literal:
                parts.append(f"${{{name}}}")
            elif name in variables:
                parts.append(self.resolve(variables[name]))
            elif "." in name:
                parts.append({"Fn::GetAtt": name.split(".", 1)})
            else:
                parts.append(self.resolve({"Ref": name.strip()}))
        return self._join("", [*parts, text[end:]])

    @staticmethod
    def _join(between: str, parts: list[Any]) -> Any:
        joined: list[Any] = []
        for part in (each for each in parts if between or each != ""):
            if joined and isinstance(part, str) and isinstance(joined[-1], str):
                joined[-1] += between + part
            else:
                joined.append(part)
        if len(joined) == 1:
            return joined[0]
        return {"Fn::Join": [between, joined]} if joined else ""

    # ---- plausible values -------------------------------------------------------------------------------------------

    def concrete(self, value: Any) -> Any:
        """A resolved value with a plausible physical value, as long as can be, for each reference to a resource."""
        match value:
            case {"Ref": str(name)} if len(value) == 1:
                return self._physical(name, None)
            case {"Fn::GetAtt": [str(name), str(attribute)]} if len(value) == 1:
                return self._physical(name, attribute)
            case {"Fn::Join": [str(between), [*parts]]}:
                return between.join(str(self.concrete(part)) for part in parts)
            case dict():
                return {name: self.concrete(each) for name, each in value.items()}
            case list():
                return [self.concrete(each) for each in value]
        return value

    def _physical(self, logical_id: str, attribute: str | None) -> str:
        resource = self.resources.get(logical_id)
        if resource is None:
            return f"(no resource {logical_id})"
        unnamed = "{id}" if resource.type.startswith(_KNOWN_BY_IDS) else "{name}"
        form = _PHYSICAL.get((resource.type, attribute), _PHYSICAL.get((resource.type, "*"), unnamed))
        return form.format(
            account=ACCOUNT,
            region=self.region,
            name=self._name(resource),
            id=self._random(logical_id, 10),
            of=self._of(resource),
        )

    def _name(self, resource: Resource) -> str:
        """The given physical name, or the one that CloudFormation makes."""
        for given in _NAMED_BY.get(resource.type, (f"{resource.type.rsplit(':', 1)[1]}Name", "Name")):
            if given in resource.properties:
                return str(self.concrete(resource.properties[given]))
        most = _NAME_LENGTHS.get(resource.type, 255)
        end = self._random(resource.logical_id, 12).upper()
        return f"{self.parameters.stack}-{resource.logical_id}"[: most - len(end) - 1] + f"-{end}"

    def _of(self, resource: Resource) -> str:
        """The name of the parent of a resource: a version's function, or a rule's bus with a slash."""
        name = str(self.concrete(resource.properties.get(_PART_OF.get(resource.type, ""), "")))
        return f"{name}/" if name and resource.type == "AWS::Events::Rule" else name

    def _random(self, logical_id: str, characters: int) -> str:
        """An id as AWS generates it, different for each resource of each stack."""
        return hashlib.sha256(f"{self._uuid} {logical_id}".encode()).hexdigest()[:characters]

    # ---- for a linter -----------------------------------------------------------------------------------------------

    def document(self, *, concrete: bool) -> Document:
        """A template of these resources alone, without parameters, conditions and what functions make of them.

        With `concrete`, references to resources are plausible values too, so that lengths and patterns can be checked.
        """
        final = self.concrete if concrete else (lambda value: value)
        resources = {
            resource.logical_id: {
                "Type": resource.type,
                **{name: value for name, value in resource.attributes.items() if name not in ("Condition", "Metadata")},
                "Properties": final(resource.properties),
            }
            for resource in self.resources.values()
        }
        return {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": self.template.get("Description", ""),
            "Resources": resources,
            "Outputs": {name: {"Value": final(value)} for name, value in self.outputs.items()},
        }

    def compact(self, value: Any) -> str:
        """A value as AWS counts its characters: JSON without white space, with plausible values for references."""
        return json.dumps(self.concrete(value), separators=(",", ":"))
