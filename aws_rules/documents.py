"""The template's text, and the result of the SAM transform, without a network or an account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from samtranslator.parser.parser import Parser
from samtranslator.translator import translator as sam
from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template
from samtranslator.yaml_helper import yaml_parse

Document = dict[str, Any]

TEMPLATE: Final = Path(__file__).resolve().parents[1] / "template.yaml"
_FUNCTION: Final = "AWS::Serverless::Function"
_LAYER: Final = "AWS::Serverless::LayerVersion"
_STACK: Final = "AWS::CloudFormation::Stack"
_POLICY_TEMPLATES: Final = "make_policy_template_for_function_plugin"
_LOCAL_PATHS: Final = {_FUNCTION: "CodeUri", _LAYER: "ContentUri", _STACK: "TemplateURL"}


@dataclass(frozen=True)
class _Session:
    """Replaces the session from which the transform reads the Region of this machine's AWS configuration."""

    region_name: str


def parsed(text: str) -> Document:
    """The document, with CloudFormation's short forms spelt out: `!Ref x` is `{"Ref": "x"}`."""
    document: Document = yaml_parse(text)
    return document


def transformed(
    document: Document, values: Mapping[str, str], region: str, *, code: str = "1", layer: str = "1"
) -> Document:
    """The template that CloudFormation gets, for these parameter values.

    `code` and `layer` stand for hashes: `sam deploy` puts both into a bucket under their hashes, and then transforms.

    Raises:
        samtranslator's InvalidDocumentException: SAM refuses the template.
    """
    plain: Document = json.loads(_remembered(packaged(document, code, layer), values, region))
    return plain


def packaged(document: Document, code: str, layer: str) -> str:
    """The template, as JSON, after `sam deploy` has put code and layer into a bucket."""
    copied: Document = json.loads(json.dumps(document))
    for resource in copied["Resources"].values():
        path = _LOCAL_PATHS.get(resource["Type"])
        if path and isinstance(resource["Properties"].get(path), str):
            bucket = "https://s3.us-east-1.amazonaws.com" if resource["Type"] == _STACK else "s3:/"
            content = {_FUNCTION: code, _LAYER: layer}.get(resource["Type"], "1")
            resource["Properties"][path] = f"{bucket}/artifacts/{resource['Properties'][path].strip('/')}/{content}"
    return json.dumps(copied)


class _Values(dict[str, str]):
    """Parameter values that note in `read` which of them SAM asks for. It leaves most of them to CloudFormation."""

    def __init__(self, values: Mapping[str, str], read: set[str]) -> None:
        super().__init__(values)
        self.read = read

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Values:
        return _Values(self, self.read)


@lru_cache(maxsize=32)
def _results(template: str, region: str) -> list[tuple[dict[str, str], str]]:  # noqa: ARG001  # the cache's key
    """What SAM has made of a packaged template so far, each with the values that it asked for."""
    return []


def _remembered(template: str, values: Mapping[str, str], region: str) -> str:
    known = _results(template, region)
    for asked, made in known:
        if asked.items() <= values.items():
            return made
    made, read = translated(template, values, region)
    known.append(({name: values[name] for name in read & values.keys()}, made))
    return made


def translated(template: str, values: Mapping[str, str], region: str) -> tuple[str, set[str]]:
    """What SAM makes of a packaged template, as JSON, and the parameters on whose values this depends."""
    _check_policy_templates_once()
    read: set[str] = set()
    document, parameters = json.loads(template), _Values(values, read)
    to_py27_compatible_template(document, parameters)  # as samtranslator's own transform() does: it decides hashes
    translator = sam.Translator({}, Parser(), boto_session=_Session(region))
    made = translator.translate(document, parameters, get_managed_policy_map=dict)
    translator.metrics.publish()  # nowhere: it complains of what is left unpublished
    return json.dumps(undo_mark_unicode_str_in_template(made)), read


@cache
def _check_policy_templates_once() -> None:
    """Let SAM check its own policy templates once. It would for each transform, which takes long."""
    setattr(sam, _POLICY_TEMPLATES, cache(getattr(sam, _POLICY_TEMPLATES)))
