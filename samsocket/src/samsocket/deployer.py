"""Builds and deploys a project at the start and after each change of its files, and has the pool run its functions."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, Final

from samsocket import stack as stacks
from samsocket.emulation.deployment import Deployment
from samsocket.project.preparing import not_served, prepared
from samsocket.project.sources import specs
from samsocket.resolver import Resolver
from samsocket.template import Template, being_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from samsocket.emulation.deployment import Account
    from samsocket.environments import Environments
    from samsocket.functions.commands import Host
    from samsocket.functions.pool import Pool
    from samsocket.project.expansion import Project
    from samsocket.project.sources import Source
    from samsocket.terminal import Terminal

STACK: Final = "samsocket"


class Deployer:
    """Puts projects on the emulator; `found` has the folders of the functions and layers of the last one."""

    def __init__(
        self,
        account: Account,
        pool: Pool,
        host: Host,
        environments: Environments,
        terminal: Terminal,
        *,
        scratch: Path,
        build: Path,
        enforces_iam: bool,
    ) -> None:
        """Take where it deploys to, what runs the functions, and two folders: for this run, and for what is built."""
        self._account, self._pool, self._host = account, pool, host
        self._environments, self._terminal = environments, terminal
        self._scratch, self._build, self._enforces_iam = scratch, build, enforces_iam
        self._deployment = Deployment(account, STACK, terminal.say)
        self.found: dict[str, Source] = {}

    async def prepare(self, project: Project) -> None:
        """Build what has to be built.

        Raises:
            StartError: the build fails.
        """
        self.found = await prepared(
            project,
            self._build,
            self._scratch,
            host=self._host,
            environments=self._environments,
            terminal=self._terminal,
        )

    async def deploy(self, project: Project, parameters: Mapping[str, str]) -> tuple[Resolver, list[str]]:
        """Deploy a project that is prepared; return its values, and a line for each resource that is not served.

        Raises:
            StartError: the emulator refuses it.
        """
        deployed = await asyncio.to_thread(self._deployment.put, project, parameters, self._pool.invoke_url)
        described = await asyncio.to_thread(stacks.describe, STACK, **dataclasses.asdict(self._account))
        resolver = Resolver(Template(project.expanded), described)
        with being_read(project.path):
            offered = await asyncio.to_thread(
                lambda: list(specs(project, self.found, deployed.functions, resolver, self._variables_of_role))
            )
        self._pool.offer(offered)
        return resolver, list(not_served(project, deployed.left_out, self.found))

    def renew(self, sources: Iterable[str]) -> None:
        """Have the pool use the code of functions and layers as it is now; a layer may concern every function."""
        changed = set(sources)
        for logical_id in self._pool.functions if changed - self._pool.functions else changed:
            if self._pool.renew(logical_id):
                self._pool.warm(logical_id)

    def _variables_of_role(self, function: Mapping[str, Any]) -> Mapping[str, str]:
        return self._account.variables_of_role(function) if self._enforces_iam else {}
