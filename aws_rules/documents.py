"""The template's text, and the result of the SAM transform, without a network or an account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template
from samtranslator.yaml_helper import yaml_parse

Document = dict[str, Any]

TEMPLATE: Final = Path(__file__).resolve().parents[1] / "template.yaml"
_FUNCTION: Final = "AWS::Serverless::Function"
_LAYER: Final = "AWS::Serverless::LayerVersion"
_STACK: Final = "AWS::CloudFormation::Stack"
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
    packaged: Document = json.loads(json.dumps(document))  # a copy: the transform works in place
    for resource in packaged["Resources"].values():
        path = _LOCAL_PATHS.get(resource["Type"])
        if path and isinstance(resource["Properties"].get(path), str):
            bucket = "https://s3.us-east-1.amazonaws.com" if resource["Type"] == _STACK else "s3:/"
            content = {_FUNCTION: code, _LAYER: layer}.get(resource["Type"], "1")
            resource["Properties"][path] = f"{bucket}/artifacts/{resource['Properties'][path].strip('/')}/{content}"
    parameters = dict(values)
    to_py27_compatible_template(packaged, parameters)  # as samtranslator's own transform() does: it decides hashes
    translator = Translator({}, Parser(), boto_session=_Session(region))
    made = translator.translate(packaged, parameters, get_managed_policy_map=dict)
    translator.metrics.publish()  # nowhere: it complains of what is left unpublished
    plain: Document = json.loads(json.dumps(undo_mark_unicode_str_in_template(made)))
    return plain
