"""The functions and layers of an expanded template, and where their code is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from samsocket.functions.spec import FunctionSpec, family_of
from samsocket.project.expansion import BUCKET

if TYPE_CHECKING:
    from pathlib import Path

    from samsocket.project.expansion import Project
    from samsocket.resolver import Resolver

FUNCTION: Final = "AWS::Lambda::Function"
LAYER: Final = "AWS::Lambda::LayerVersion"


@dataclass(frozen=True)
class Source:
    """A function's or layer's folder. `built` is where `sam build` puts it, None if it needs no build.

    `is_live` says that the source folder itself is run, with what the build installed beside it.
    """

    logical_id: str
    folder: Path
    built: Path | None
    is_live: bool

    @property
    def code(self) -> tuple[Path, ...]:
        """Return the folders to run, the first before the second."""
        if self.built is None:
            return (self.folder,)
        return (self.folder, self.built) if self.is_live else (self.built,)


def functions(project: Project) -> dict[str, Mapping[str, Any]]:
    """Return the properties of each function, by logical id."""
    return {
        logical_id: resource.get("Properties") or {}
        for logical_id, resource in project.expanded["Resources"].items()
        if resource.get("Type") == FUNCTION
    }


def sources(project: Project, build: Path) -> dict[str, Source]:
    """Return the folder of each function and layer that has one, by the logical id as written."""
    found = {}
    runtimes = {logical_id: str(properties.get("Runtime", "")) for logical_id, properties in functions(project).items()}
    for logical_id, folder in project.code.items():
        method = project.metadata(logical_id).get("BuildMethod")
        if project.metadata(logical_id).get("SkipBuild"):
            found[logical_id] = Source(logical_id, folder, None, is_live=True)
        elif logical_id in runtimes:
            is_live = method is None or str(method).startswith(("python", "nodejs"))
            needs = not is_live or _brings_dependencies(folder, runtimes[logical_id])
            found[logical_id] = Source(logical_id, folder, build / logical_id if needs else None, is_live=is_live)
        else:
            found[logical_id] = Source(logical_id, folder, build / logical_id if method else None, is_live=False)
    return found


def _brings_dependencies(folder: Path, runtime: str) -> bool:
    """Return whether a folder lists packages that `sam build` has to install."""
    match family_of(runtime):
        case "python":
            listed = folder / "requirements.txt"
            lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
            return any(line.strip() and not line.lstrip().startswith("#") for line in lines)
        case "node":
            listed = folder / "package.json"
            if not listed.is_file() or (folder / "node_modules").is_dir():
                return False
            try:
                return bool(json.loads(listed.read_text(encoding="utf-8")).get("dependencies"))
            except (ValueError, AttributeError):
                return True  # npm will say what is wrong with it
        case "custom":
            return not (folder / "bootstrap").is_file()
    return False


def inline_code(project: Project, scratch: Path) -> dict[str, Source]:
    """Write the code that stands in the template itself to folders, and return them by logical id."""
    found = {}
    for logical_id, properties in functions(project).items():
        code = properties.get("Code")
        text = code.get("ZipFile") if isinstance(code, Mapping) else None
        if isinstance(text, str):
            folder = scratch / logical_id
            folder.mkdir(parents=True, exist_ok=True)
            ending = ".py" if family_of(str(properties.get("Runtime", ""))) == "python" else ".js"
            (folder / f"index{ending}").write_text(text, encoding="utf-8")
            found[logical_id] = Source(logical_id, folder, None, is_live=True)
    return found


def specs(
    project: Project,
    found: Mapping[str, Source],
    deployed: Mapping[str, Mapping[str, Any]],
    resolver: Resolver,
    role: Callable[[Mapping[str, Any]], Mapping[str, str]],
) -> Iterator[FunctionSpec]:
    """Yield the functions that have code here.

    `deployed` is what the emulator says of each function: its name, its ARN and the values of its variables; `role`
    returns the variables by which a deployed function has its rights.
    """
    layers = _layer_folders(project, found)
    for logical_id, properties in functions(project).items():
        if logical_id not in found or logical_id not in deployed:
            continue
        known = deployed[logical_id]
        variables = known.get("Environment", {}).get("Variables", {})
        yield FunctionSpec(
            logical_id=logical_id,
            name=known["FunctionName"],
            arn=known["FunctionArn"],
            runtime=str(resolver.resolve(properties.get("Runtime", ""))),
            handler=str(resolver.resolve(properties.get("Handler", ""))),
            code=found[logical_id].code,
            layers=tuple(
                layers[layer["Ref"]]
                for layer in properties.get("Layers") or []
                if isinstance(layer, Mapping) and layer.get("Ref") in layers
            ),
            timeout=float(resolver.resolve(properties.get("Timeout", 3))),
            memory=int(resolver.resolve(properties.get("MemorySize", 128))),
            environment={name: value for name, value in variables.items() if not name.startswith("SAMSOCKET_")},
            role=role(known),
        )


def _layer_folders(project: Project, found: Mapping[str, Source]) -> dict[str, Path]:
    """Return the folder of each layer by its logical id in the expanded template, which has a hash at its end."""
    folders = {}
    for logical_id, resource in project.expanded["Resources"].items():
        content = (resource.get("Properties") or {}).get("Content")
        if resource.get("Type") == LAYER and isinstance(content, Mapping) and content.get("S3Bucket") == BUCKET:
            source = found.get(str(content.get("S3Key")))
            if source is not None:
                folders[logical_id] = source.code[0]
    return folders
