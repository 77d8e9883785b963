"""A SAM template, expanded into CloudFormation's resources by AWS's own translator."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.public.exceptions import InvalidDocumentException
from samtranslator.translator.translator import Translator

from samsocket import sdk
from samsocket.errors import TemplateError
from samsocket.project import nesting
from samsocket.template import parse_document

BUCKET: Final = "samsocket"
"""In an expanded template, code in this bucket is a folder of this machine; the key is the logical id that has it."""

_CODE: Final = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
    "AWS::Lambda::Function": "Code",
    "AWS::Lambda::LayerVersion": "Content",
}
_SAM: Final = "AWS::Serverless-2016-10-31"


@dataclass(frozen=True)
class Project:
    """A template: as it was `written`, and `expanded`; `code` has the local folders by logical id.

    What nested stacks bring is in all of them. `templates` are all files that were read.
    """

    path: Path
    written: Mapping[str, Any]
    expanded: Mapping[str, Any]
    code: Mapping[str, Path]
    templates: frozenset[Path] = frozenset()

    def metadata(self, logical_id: str) -> Mapping[str, Any]:
        """Return what the template tells `sam build` about a resource."""
        found = self.written["Resources"].get(logical_id, {}).get("Metadata")
        return found if isinstance(found, Mapping) else {}


def find_template(given: Path | None) -> Path:
    """Return the template to run: the one that is given, or that of the current folder.

    Raises:
        TemplateError: there is none.
    """
    if given is not None:
        found = given / "template.yaml" if given.is_dir() else given
        if not found.is_file():
            raise TemplateError(f"cannot read {given}: there is no such file")
        return found.resolve()
    for name in ("template.yaml", "template.yml", "template.json"):
        if Path(name).is_file():
            return Path(name).resolve()
    raise TemplateError(f"{Path.cwd()} has no template.yaml: go to the folder that has it, or name it with --template")


def read_project(path: Path, parameters: Mapping[str, str], region: str) -> Project:
    """Read and expand a template; `parameters` override its defaults.

    Raises:
        TemplateError: it is no template, has a loop or a parameter without a value, or SAM refuses it.
    """
    written = _read(path)
    needed = [
        name
        for name, parameter in (written.get("Parameters") or {}).items()
        if "Default" not in parameter and name not in parameters
    ]
    if needed:
        example = " ".join(f"{name}=…" for name in needed)
        raise TemplateError(f"{path} has parameters without a default: --parameter-overrides '{example}'")
    return _expanded(path, written, parameters, region, frozenset())


def _read(path: Path) -> dict[str, Any]:
    try:
        written = parse_document(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TemplateError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(written, dict) or not isinstance(written.get("Resources"), Mapping):
        raise TemplateError(f"{path} has no Resources")
    if loops := [str(name) for name, body in written["Resources"].items() if not isinstance(body, Mapping)]:
        raise TemplateError(f"{path}: {', '.join(loops)} is no resource (loops of Fn::ForEach are not served)")
    return written


def _expanded(
    path: Path, written: Mapping[str, Any], parameters: Mapping[str, str], region: str, around: frozenset[Path]
) -> Project:
    """Expand a template, and those of its nested stacks; `around` are the templates that it is nested in."""
    if path in around:
        raise TemplateError(f"{path} is nested in itself")
    document = copy.deepcopy(dict(written))
    nesting.make_plain(document)
    code = _take_out_folders(document, path.parent)
    expanded = dict(_expand(document, parameters, region, path)) if _is_sam(document) else document
    found, resources, templates = {}, dict(written["Resources"]), {path}
    for logical_id, own_path in nesting.local_stacks(expanded, path.parent):
        given = expanded["Resources"][logical_id]["Properties"].get("Parameters") or {}
        nested = nesting.renamed(logical_id, _read(own_path), given)
        inner = _expanded(own_path, nested.document, {}, region, around | {path})
        found[logical_id] = (nested, inner.expanded)
        code |= inner.code
        resources |= inner.written["Resources"]
        templates |= inner.templates
    if found:
        expanded = nesting.merge(expanded, found)
        written = {**written, "Resources": resources}
    return Project(path, written, expanded, code, frozenset(templates))


def _is_sam(document: Mapping[str, Any]) -> bool:
    transforms = document.get("Transform") or []
    return _SAM in (transforms if isinstance(transforms, list) else [transforms])


def _expand(document: dict[str, Any], parameters: Mapping[str, str], region: str, path: Path) -> Mapping[str, Any]:
    for name in ("samtranslator", "botocore"):
        logging.getLogger(name).setLevel(logging.ERROR)
    own = boto3.Session(botocore_session=sdk.session(), region_name=region)
    translator = Translator({}, Parser(), boto_session=own)
    try:
        expanded: Mapping[str, Any] = translator.translate(document, dict(parameters))
    except InvalidDocumentException as error:
        causes = "; ".join(str(cause) for cause in error.causes)
        raise TemplateError(f"SAM refuses {path}: {causes or error}") from error
    return expanded


def _take_out_folders(document: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Put a place in a bucket wherever code is a folder, for the translator takes nothing else; return the folders."""
    found: dict[str, Path] = {}
    shared = ((document.get("Globals") or {}).get("Function") or {}).pop("CodeUri", None)
    for logical_id, resource in document["Resources"].items():
        if not isinstance(resource, dict) or resource.get("Type") not in _CODE:
            continue
        name = _CODE[resource["Type"]]
        properties = resource.setdefault("Properties", {})
        given = properties.get(name)
        if given is None and name == "CodeUri" and not properties.keys() & {"InlineCode", "ImageUri", "PackageType"}:
            given = shared if shared is not None else "."
        if isinstance(given, str) and not given.startswith(("s3://", "https://")):
            found[logical_id] = (folder / given).resolve()
            in_bucket: Any = {"S3Bucket": BUCKET, "S3Key": logical_id}
            if name in ("CodeUri", "ContentUri"):
                in_bucket = f"s3://{BUCKET}/{logical_id}"
            properties[name] = in_bucket
    return found
