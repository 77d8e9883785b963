"""Nested stacks whose templates are files of this machine: their resources become ones of the stack around them.

So the gateway reads one template, and the emulator deploys one stack. A resource's logical id gets that of the nested
stack before it, parameters their values, and `Outputs` stand where they are asked for.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

STACK: Final = "AWS::CloudFormation::Stack"
_APPLICATION: Final = "AWS::Serverless::Application"
_REPOSITORY: Final = "https://serverlessrepo.amazonaws.com/"
_VARIABLE: Final = re.compile(r"\$\{([^!}][^}]*)\}")
_STACK_NAME: Final = "AWS::StackName"


@dataclass(frozen=True)
class Nested:
    """A nested stack, renamed: what it brings, and the values of its outputs."""

    logical_id: str
    document: dict[str, Any]
    outputs: Mapping[str, Any]


def make_plain(document: dict[str, Any]) -> None:
    """Turn a document's applications into nested stacks.

    SAM does so, too, but would ask AWS for those of its Serverless Application Repository, with this user's own key.
    """
    for resource in document["Resources"].values():
        if resource.get("Type") == _APPLICATION:
            properties = resource.get("Properties") or {}
            place = properties.get("Location")
            resource["Type"] = STACK
            resource["Properties"] = {
                "TemplateURL": place if isinstance(place, str) else _REPOSITORY,
                "Parameters": properties.get("Parameters") or {},
            }


def local_stacks(expanded: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the nested stacks of an expanded template whose own template is a file."""
    for logical_id, resource in expanded["Resources"].items():
        url = (resource.get("Properties") or {}).get("TemplateURL")
        if resource.get("Type") == STACK and isinstance(url, str) and "://" not in url and (folder / url).is_file():
            yield logical_id, (folder / url).resolve()


def renamed(logical_id: str, written: Mapping[str, Any], given: Mapping[str, Any]) -> Nested:
    """Return a nested stack's template with names of its own; `given` are its parameters' values.

    A parameter without a value keeps its `Default`, and is empty without one.
    """
    parameters = written.get("Parameters") or {}
    values = {
        name: _as_list(parameter, given.get(name, parameter.get("Default", "")))
        for name, parameter in parameters.items()
    }
    renaming = _Renaming(logical_id, written, values)
    document = {
        section: renaming.rewritten(copy.deepcopy(content))
        for section, content in written.items()
        if section not in ("Parameters", "Outputs", "Resources", "Conditions", "Mappings")
    }
    for section in ("Resources", "Conditions", "Mappings"):
        if written.get(section):
            document[section] = {
                logical_id + name: renaming.rewritten(content) for name, content in written[section].items()
            }
    for resource in document["Resources"].values():
        if "Condition" in resource:
            resource["Condition"] = logical_id + resource["Condition"]
        if "DependsOn" in resource:
            needed = resource["DependsOn"]
            resource["DependsOn"] = [logical_id + name for name in ([needed] if isinstance(needed, str) else needed)]
    outputs = {name: renaming.rewritten(output.get("Value")) for name, output in (written.get("Outputs") or {}).items()}
    return Nested(logical_id, document, outputs)


def merge(expanded: dict[str, Any], found: Mapping[str, tuple[Nested, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return a template with nested stacks' resources in place of those stacks; each comes with its own expansion."""
    merged = copy.deepcopy(expanded)
    for logical_id, (_, inner) in found.items():
        outer = merged["Resources"].pop(logical_id)
        for section in ("Conditions", "Mappings"):
            if inner.get(section):
                merged.setdefault(section, {}).update(copy.deepcopy(inner[section]))
        for name, resource in copy.deepcopy(dict(inner["Resources"])).items():
            _bound(resource, outer, merged)
            merged["Resources"][name] = resource
    members = {logical_id: list(inner["Resources"]) for logical_id, (_, inner) in found.items()}
    for resource in merged["Resources"].values():
        if "DependsOn" in resource:
            needed = resource["DependsOn"]
            listed = [needed] if isinstance(needed, str) else needed
            resource["DependsOn"] = [each for name in listed for each in members.get(name, [name])]
    outputs = {logical_id: nested.outputs for logical_id, (nested, _) in found.items()}
    for section in ("Resources", "Outputs", "Conditions"):
        if section in merged:
            merged[section] = _with_outputs(merged[section], outputs)
    return merged


def _bound(resource: dict[str, Any], outer: Mapping[str, Any], merged: dict[str, Any]) -> None:
    """Have a nested resource wait for what its stack waits for, and exist only if its stack does."""
    needed = outer.get("DependsOn") or []
    own = resource.get("DependsOn") or []
    listed = [*([own] if isinstance(own, str) else own), *([needed] if isinstance(needed, str) else needed)]
    if listed:
        resource["DependsOn"] = listed
    if "Condition" in outer and "Condition" in resource:
        both = f"{outer['Condition']}And{resource['Condition']}"
        conditions = [{"Condition": outer["Condition"]}, {"Condition": resource["Condition"]}]
        merged.setdefault("Conditions", {})[both] = {"Fn::And": conditions}
        resource["Condition"] = both
    elif "Condition" in outer:
        resource["Condition"] = outer["Condition"]


def _as_list(parameter: Mapping[str, Any], value: Any) -> Any:
    kind = str(parameter.get("Type", "String"))
    return {"Fn::Split": [",", value]} if kind == "CommaDelimitedList" or kind.startswith("List<") else value


class _Renaming:
    """Rewrites what the intrinsic functions of a nested stack name."""

    def __init__(self, prefix: str, written: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        self._prefix, self._values = prefix, values
        self._resources = frozenset(written["Resources"])
        self._conditions = frozenset(written.get("Conditions") or {})
        self._mappings = frozenset(written.get("Mappings") or {})

    def rewritten(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.rewritten(item) for item in value]
        if isinstance(value, Mapping):
            return self._function(value) if len(value) == 1 else self._map(value)
        return value

    def _map(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self.rewritten(item) for key, item in value.items()}

    def _function(self, value: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one branch a function
        """Return what may be an intrinsic function, with new names in it."""
        match value:
            case {"Ref": name}:
                return self._ref(str(name))
            case {"Fn::Sub": argument}:
                return self._sub(argument)
            case {"Fn::GetAtt": argument}:
                first, *rest = argument if isinstance(argument, list) else str(argument).split(".", 1)
                return {"Fn::GetAtt": [self._own(first, self._resources), *rest]}
            case {"Fn::If": [condition, *rest]}:
                return {"Fn::If": [self._own(condition, self._conditions), *self.rewritten(rest)]}
            case {"Fn::FindInMap": [mapping, *rest]}:
                return {"Fn::FindInMap": [self._own(mapping, self._mappings), *self.rewritten(rest)]}
            case {"Condition": str(condition)}:
                return {"Condition": self._own(condition, self._conditions)}
        return self._map(value)

    def _own(self, name: Any, names: frozenset[str]) -> Any:
        """Return the new name of one of the stack's own parts; anything else as it is, rewritten."""
        return self._prefix + name if isinstance(name, str) and name in names else self.rewritten(name)

    def _ref(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name == _STACK_NAME:
            return {"Fn::Sub": f"${{{_STACK_NAME}}}-{self._prefix}"}
        return {"Ref": self._prefix + name if name.partition(".")[0] in self._resources else name}

    def _sub(self, argument: Any) -> Any:
        text, variables = argument if isinstance(argument, list) else (argument, {})
        variables = {name: self.rewritten(value) for name, value in variables.items()}
        own = frozenset(variables)

        def place(match: re.Match[str]) -> str:
            name = match[1].strip()
            if name in own:
                return match[0]
            if name in self._values:
                variables[f"{self._prefix}{name}"] = self._values[name]
                return f"${{{self._prefix}{name}}}"
            if name == _STACK_NAME:
                return f"${{{name}}}-{self._prefix}"
            return f"${{{self._prefix}{name}}}" if name.partition(".")[0] in self._resources else match[0]

        text = _VARIABLE.sub(place, str(text))
        return {"Fn::Sub": [text, variables] if variables else text}


def _with_outputs(value: Any, outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    """Put the values of nested stacks' outputs in place of references to them."""
    if isinstance(value, list):
        return [_with_outputs(item, outputs) for item in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        (name, argument), *_ = value.items()
        if name == "Ref" and argument in outputs:
            return argument
        if name == "Fn::GetAtt":
            parts = argument if isinstance(argument, list) else str(argument).split(".", 1)
            if parts[0] in outputs:
                return _with_outputs(outputs[parts[0]].get(str(parts[1]).removeprefix("Outputs.")), outputs)
        if name == "Fn::Sub":
            text, variables = argument if isinstance(argument, list) else (argument, {})
            variables = {key: _with_outputs(item, outputs) for key, item in variables.items()}
            found: Callable[[re.Match[str]], str] = _placing(variables, outputs)
            text = _VARIABLE.sub(found, str(text))
            return {name: [text, variables] if variables else text}
    return {key: _with_outputs(item, outputs) for key, item in value.items()}


def _placing(variables: dict[str, Any], outputs: Mapping[str, Mapping[str, Any]]) -> Callable[[re.Match[str]], str]:
    def place(match: re.Match[str]) -> str:
        logical_id, dot, attribute = match[1].strip().partition(".")
        if logical_id not in outputs or match[1] in variables:
            return match[0]
        if not dot:
            return logical_id
        name = f"{logical_id}{attribute.replace('.', '')}"
        variables[name] = _with_outputs(outputs[logical_id].get(attribute.removeprefix("Outputs.")), outputs)
        return f"${{{name}}}"

    return place
