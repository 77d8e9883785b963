"""Gets the code of a project ready to run, and tells what of a project does not run here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from samsocket.functions.spec import family_of
from samsocket.processes import Program, environment
from samsocket.project import building
from samsocket.project.sources import functions, inline_code, sources
from samsocket.template import being_read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from samsocket.environments import Environments
    from samsocket.functions.commands import Host
    from samsocket.project.expansion import Project
    from samsocket.project.sources import Source
    from samsocket.terminal import Terminal

_SERVED_BY_THE_GATEWAY: Final = ("AWS::ApiGatewayV2::", "AWS::Lambda::LayerVersion")
"""What is taken out of the deployed template and works all the same."""


async def prepared(
    project: Project, build: Path, scratch: Path, *, host: Host, environments: Environments, terminal: Terminal
) -> dict[str, Source]:
    """Return the folders of functions and layers, once those are built into `build` that must be.

    Raises:
        StartError: the SAM CLI cannot be installed, or the build fails.
    """
    with being_read(project.path):
        found = sources(project, build) | inline_code(project, scratch / "inline")
    wanted = building.stale(found.values())
    if wanted:
        sam = await asyncio.to_thread(environments.sam)
        with terminal.step(f"sam build: {', '.join(source.logical_id for source in wanted)}"):
            line, variables = building.command(sam, project, wanted, host.pythons, scratch)
            log = scratch / "sam-build.log"
            await Program("sam build", line, environment("AWS_", **variables), project.path.parent, log).run()
            building.keep(wanted, scratch)
    return found


def not_served(project: Project, left_out: Mapping[str, str], found: Mapping[str, Source]) -> Iterator[str]:
    """Yield a line for each resource that does not work here; `left_out` says what the emulator does not deploy."""
    for logical_id, why in left_out.items():
        if not why.startswith(_SERVED_BY_THE_GATEWAY):
            yield f"not served: {logical_id} ({why})"
    for logical_id, properties in functions(project).items():
        runtime = str(properties.get("Runtime", ""))
        if properties.get("PackageType") == "Image":
            yield f"not served: {logical_id} (a container image, which needs Docker)"
        elif family_of(runtime) is None:
            yield f"not served: {logical_id} (the runtime {runtime}: Python, Node and custom ones are)"
        elif logical_id not in found:
            yield f"not served: {logical_id} (its code is not on this machine)"
