"""Builds what must be built, by the real `sam build`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from samsocket.functions.spec import family_of
from samsocket.project.sources import functions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from samsocket.project.expansion import Project
    from samsocket.project.sources import Source

_BUILT_FROM: Final = ("requirements.txt", "package.json", "package-lock.json", "npm-shrinkwrap.json", "pyproject.toml")
_TYPES: Final = {
    "AWS::Lambda::Function": "AWS::Serverless::Function",
    "AWS::Lambda::LayerVersion": "AWS::Serverless::LayerVersion",
}


def stale(sources: Iterable[Source]) -> list[Source]:
    """Return those that need a build and have none, or one of other dependencies."""
    return [source for source in sources if source.built is not None and _stamp(source) != _print(source)]


def command(
    sam: Path, project: Project, sources: Collection[Source], pythons: Mapping[str, Path], scratch: Path
) -> tuple[list[str | Path], dict[str, str]]:
    """Return the command that builds some sources into `scratch / "built"`, and variables for its environment.

    It gets a template of these alone, in which a Python runtime is the version of the interpreter that will run it.
    """
    runtimes = {logical_id: str(properties.get("Runtime", "")) for logical_id, properties in functions(project).items()}
    resources = {source.logical_id: _resource(project, source, runtimes, pythons) for source in sources}
    template = scratch / "build.json"
    written = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
    template.write_text(json.dumps(written), encoding="utf-8")
    folders = dict.fromkeys(str(path.parent) for path in pythons.values())
    home = scratch / "sam"
    home.mkdir(exist_ok=True)
    line: list[str | Path] = [
        sam,
        "build",
        "--template-file",
        template,
        "--build-dir",
        scratch / "built",
        "--base-dir",
        project.path.parent,
    ]
    return line, {
        "PATH": os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)]),
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(home),
    }


def keep(sources: Iterable[Source], scratch: Path) -> None:
    """Move what was built to where it is run from."""
    for source in sources:
        if source.built is None:
            continue
        shutil.rmtree(source.built, ignore_errors=True)
        source.built.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / "built" / source.logical_id, source.built)
        _mark(source).write_text(_print(source), encoding="utf-8")


def _resource(
    project: Project, source: Source, runtimes: Mapping[str, str], pythons: Mapping[str, Path]
) -> dict[str, Any]:
    resource = project.written["Resources"][source.logical_id]
    kind = _TYPES.get(resource["Type"], resource["Type"])
    metadata = dict(project.metadata(source.logical_id))
    if kind == "AWS::Serverless::LayerVersion":
        method = str(metadata.get("BuildMethod", ""))
        return {
            "Type": kind,
            "Metadata": metadata | {"BuildMethod": _buildable(method, pythons)},
            "Properties": {"ContentUri": str(source.folder), "CompatibleRuntimes": [_buildable(method, pythons)]},
        }
    runtime = _buildable(runtimes[source.logical_id], pythons)
    properties = {"CodeUri": str(source.folder), "Handler": resource["Properties"].get("Handler", "index.handler")}
    return {"Type": kind, "Metadata": metadata, "Properties": {**properties, "Runtime": runtime}}


def _buildable(runtime: str, pythons: Mapping[str, Path]) -> str:
    """Return the runtime for which `sam build` is to install: that of the interpreter that is here."""
    if family_of(runtime) == "python" and runtime in pythons:
        return version_of(pythons[runtime]) or runtime
    return "nodejs20.x" if family_of(runtime) == "node" else runtime


def version_of(python: Path) -> str | None:
    """Return `python3.11` and the like for an environment's interpreter."""
    found = sorted(path.name for path in python.parent.glob("python3.*"))
    return found[0] if found else None


def _mark(source: Source) -> Path:
    return Path(f"{source.built}.made-of")


def _stamp(source: Source) -> str | None:
    mark = _mark(source)
    return mark.read_text("utf-8") if mark.is_file() else None


def _print(source: Source) -> str:
    """Return a fingerprint of what a build depends on: the lists of packages, or else the whole folder."""
    digest = hashlib.sha256(str(source.folder).encode())
    if source.is_live:
        files = [source.folder / name for name in _BUILT_FROM]
    else:
        files = sorted(path for path in source.folder.rglob("*") if "node_modules" not in path.parts)
    for path in files:
        if path.is_file():
            digest.update(f"{path}:".encode())
            digest.update(path.read_bytes() if source.is_live else str(path.stat().st_mtime_ns).encode())
    return digest.hexdigest()
