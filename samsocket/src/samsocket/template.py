"""A SAM template, and the stack that was deployed from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from samsocket.errors import GatewayError, TemplateError

# libyaml is several times as fast. PyYAML may have been built without it.
_Safe: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[valid-type,misc]  # of two classes, which of them is known when it is imported
    """YAML with CloudFormation's short forms: `!Sub x` is read as `{"Fn::Sub": "x"}`."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:  # pragma: no cover - yaml knows three kinds of node
        raise TypeError(node)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


@contextmanager
def being_read(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong meanwhile that it is the template's fault: an editor saves it half typed, too.

    Raises:
        TemplateError: something went wrong that is no error of the gateway's.
    """
    try:
        yield
    except GatewayError:
        raise
    except Exception as error:
        raise TemplateError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def parse_document(text: str) -> Any:
    """Return a YAML or JSON document with CloudFormation's short forms spelt out."""
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


@dataclass(frozen=True)
class Resource:
    """One resource of a template."""

    logical_id: str
    type: str
    properties: Mapping[str, Any]
    condition: str | None


class Template:
    """The sections of a template that the gateway reads."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Take a parsed template.

        Raises:
            TemplateError: there are no resources.
        """
        resources = document.get("Resources")
        if not isinstance(resources, Mapping):
            raise TemplateError("the template has no Resources")
        self.globals: Mapping[str, Any] = document.get("Globals") or {}
        self.parameters: Mapping[str, Any] = document.get("Parameters") or {}
        self.mappings: Mapping[str, Any] = document.get("Mappings") or {}
        self.conditions: Mapping[str, Any] = document.get("Conditions") or {}
        self.resources = {
            logical_id: Resource(logical_id, body.get("Type", ""), body.get("Properties") or {}, body.get("Condition"))
            for logical_id, body in resources.items()
            if isinstance(body, Mapping)
        }

    @classmethod
    def read(cls, path: Path) -> Template:
        """Read a YAML or JSON file.

        Raises:
            TemplateError: it cannot be read, is no YAML, or is no template.
        """
        try:
            document = parse_document(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise TemplateError(f"cannot read {path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise TemplateError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(document, Mapping):
            raise TemplateError(f"{path} is not a template")
        return cls(document)

    def of_type(self, *types: str) -> list[Resource]:
        """Return the resources of the given types, in the template's order."""
        return [resource for resource in self.resources.values() if resource.type in types]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A deployed stack, as CloudFormation describes it: `physical` and `types` are by logical id.

    `exports` are the values that other stacks export, `shown` the properties of integrations, routes and authorizers as
    API Gateway shows them, by physical id, and `key_values` the values of API keys, by the key's id.
    """

    name: str
    region: str
    account: str
    partition: str = "aws"
    parameters: Mapping[str, str] = field(default_factory=dict)
    physical: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)
    shown: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    key_values: Mapping[str, str] = field(default_factory=dict)
