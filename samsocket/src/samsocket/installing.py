"""What the functions of a project need on this machine; what is missing is installed."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from samsocket.errors import StartError
from samsocket.functions.commands import Host
from samsocket.functions.spec import family_of
from samsocket.project import building
from samsocket.project.sources import functions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from samsocket.emulation.deployment import Account
    from samsocket.environments import Environments
    from samsocket.project.expansion import Project
    from samsocket.tls import Authority


def host_of(
    project: Project,
    account: Account,
    environments: Environments,
    authority: Authority,
    *,
    port: int,
    debugged: Mapping[str, int],
    say: Callable[[str], None],
) -> Host:
    """Return what all functions share, once it is installed; environments are installed side by side.

    Raises:
        StartError: Node is missing, or something cannot be installed.
    """
    runtimes = {logical_id: str(properties.get("Runtime", "")) for logical_id, properties in functions(project).items()}
    wanted = [runtime for runtime in dict.fromkeys(runtimes.values()) if family_of(runtime) == "python"]
    nodes = [logical_id for logical_id, runtime in runtimes.items() if family_of(runtime) == "node"]
    if nodes and shutil.which("node") is None:
        raise StartError(f"node is not installed, which {', '.join(nodes)} need: install Node 20 or newer")

    def python(runtime: str) -> Path:
        return environments.python(runtime, debugged=bool(debugged))

    with ThreadPoolExecutor() as threads:
        folders = {project.code[each] for each in nodes if each in project.code}
        sdk = threads.submit(environments.node_sdk, folders) if nodes else None
        pythons = dict(zip(wanted, threads.map(python, wanted), strict=True))
    for runtime, interpreter in pythons.items():
        if building.version_of(interpreter) != runtime:
            say(f"{runtime} is not on this machine: its functions run on {building.version_of(interpreter)}")
    return Host(
        port=port,
        region=account.region,
        aws=account.variables,
        authority=authority.bundle,
        own_authority=authority.certificate,
        pythons=pythons,
        sdk=sdk.result() if sdk is not None else None,
        debugged=debugged,
    )
