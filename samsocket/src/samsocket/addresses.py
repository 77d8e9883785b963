"""Which API and stage a request means: by its host name, by the first part of its path, or by the stage alone."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from samsocket.api import WebSocketApi

EXECUTE_API: Final = "/_aws/execute-api/"


class Addresses:
    """The names and paths by which the APIs of a gateway are reached.

    `names` are the host names that the gateway answers to, beside those of this machine.
    """

    def __init__(self, url_prefix: str, hosts: Collection[str]) -> None:
        """Take the prefix of a custom domain's mapping keys, and host names that stand for the gateway as a whole."""
        self.prefix = "/" + url_prefix.lstrip("/")
        self._given = frozenset(f"[{name.strip('[]')}]" if ":" in name else name for name in map(str.lower, hosts))
        self.adopt(())

    def adopt(self, apis: Sequence[WebSocketApi]) -> None:
        """Take the APIs as their template says now."""
        self._apis = tuple(apis)
        self._by_host = {name: api for api in self._apis for name in api.hosts}
        self._by_name = {name: api for api in self._apis for name in (api.name, api.api_id) if name}
        self.names = self._given | self._by_host.keys()
        self.managed = lru_cache(maxsize=256)(self._managed)

    def _managed(self, host: str, head: str) -> tuple[Sequence[WebSocketApi], str]:
        """Return the APIs, and their stage, that a request to `{head}/@connections/…` of a host may mean."""
        apis, rest = self.apis_of(host, f"{head.rstrip('/')}/")
        stage = rest.strip("/")
        return [api for api in apis if stage in api.stages], stage

    def apis_of(self, host: str, path: str) -> tuple[Sequence[WebSocketApi], str]:
        """Return the APIs that a request to a path of a host may mean, and what is left of the path."""
        if (api := self.api_of_host(host)) is not None:
            return (api,), path
        named = path.removeprefix(EXECUTE_API) if path.startswith(EXECUTE_API) else path[1:]
        first, slash, rest = named.partition("/")
        if slash and (api := self._by_name.get(first)) is not None:
            return (api,), f"/{rest}"
        return ((), path) if path.startswith(EXECUTE_API) else (self._apis, path)

    def api_of_host(self, host: str) -> WebSocketApi | None:
        """Return the API that a `Host` header stands for; None if it stands for the whole gateway."""
        if not self._by_host:
            return None
        host = host.rpartition("@")[2].lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return self._by_host.get(name)

    def path_of(self, api: WebSocketApi, stage: str) -> str:
        """Return a path that leads to a stage under any name of the gateway: with the API's name if others have it."""
        is_shared = any(stage in other.stages for other in self._apis if other is not api)
        return f"/{api.name or api.api_id}/{stage}" if is_shared else f"{self.prefix}{stage}"
