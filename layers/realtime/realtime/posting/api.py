"""The management API of one WebSocket API: its URL and paths, and the `Poster` that posts to it."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from realtime.posting.pacing import Quota, Window
from realtime.posting.poster import Clock, Pool, Poster
from realtime.posting.signing import FrozenCredentials, Signer, canonical_path

_FIRST_WINDOW = 32  # requests in flight at first; the answers then show how many API Gateway accepts
_is_usual = re.compile(r"[A-Za-z0-9_-]+=").fullmatch  # ids of the usual form: only the last character must be encoded


class Api:
    """The address of a management API; `endpoint_url` has no stage.

    Raises ValueError if it is not an HTTP URL.
    """

    def __init__(self, endpoint_url: str) -> None:
        url = urlsplit(endpoint_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"not the URL of a management API: {endpoint_url!r}")
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        if url.port not in {None, {"http": 80, "https": 443}[url.scheme]}:
            host += f":{url.port}"
        self.host = host
        self.origin = f"{url.scheme}://{host}"
        self._base_path = url.path.rstrip("/")
        self._prefixes: dict[str, tuple[str, str]] = {}

    def paths(self, stage: str, connection_id: str) -> tuple[str, str]:
        """Return a connection's path in two forms: as it is sent and as it is signed."""
        prefixes = self._prefixes.get(stage)
        if prefixes is None:
            path = f"{self._base_path}/{quote(stage, safe='')}/@connections/"
            prefixes = self._prefixes[stage] = path, canonical_path(path)
        sent, signed = prefixes
        if _is_usual(connection_id):
            return f"{sent}{connection_id[:-1]}%3D", f"{signed}{connection_id[:-1]}%253D"
        connection_id = quote(connection_id, safe="")
        if connection_id in {".", ".."}:  # otherwise they would be read as `.` and `..` of a path
            connection_id = connection_id.replace(".", "%2E")
        # The signed form is encoded twice. The second encoding changes only the percent signs of the first.
        return sent + connection_id, signed + connection_id.replace("%", "%25")

    def signer(self, region: str, credentials: Callable[[], FrozenCredentials]) -> Signer:
        """Return the signer of requests to this API."""
        return Signer(host=self.host, region=region, service="execute-api", credentials=credentials)


def make_poster(
    endpoint_url: str,
    region: str,
    credentials: Callable[[], FrozenCredentials],
    *,
    quota: Quota,
    max_in_flight: int = 128,
    connect_timeout_s: float = 1.0,
    post_timeout_s: float = 2.0,
    patience_s: float = 2.5,
    ca_bundle: str | None = None,
    open_pool: Callable[[], Pool] | None = None,
    clock: Clock = time,
    jitter: Callable[[], float] = random.random,
) -> Poster:
    """Return a Poster for a management API.

    `credentials` is called once a second and returns botocore's frozen credentials, which it renews in time.
    `quota` says how much of the account's quota may be used; `max_in_flight` limits how many connections to the API are
    open. Certificates are checked against `ca_bundle`, otherwise AWS_CA_BUNDLE, otherwise the bundle
    that botocore trusts. A test may pass `open_pool` to replace the network. Raises ValueError if `endpoint_url` is not
    an HTTP URL.
    """
    api = Api(endpoint_url)

    def open_http_pool() -> Pool:
        from realtime.posting.http_pool import HttpPool  # noqa: PLC0415

        bundle = ca_bundle or os.environ.get("AWS_CA_BUNDLE")
        if bundle is None and api.origin.startswith("https:"):
            from botocore.httpsession import get_cert_path  # noqa: PLC0415

            bundle = get_cert_path(verify=True)
        return HttpPool(api.origin, connect_timeout_s=connect_timeout_s, timeout_s=post_timeout_s, ca_bundle=bundle)

    return Poster(
        open_pool or open_http_pool,
        api.signer(region, credentials),
        origin=api.origin,
        paths=api.paths,
        quota=quota,
        window=Window(_FIRST_WINDOW, limit=max_in_flight),
        patience_s=patience_s,
        clock=clock,
        jitter=jitter,
    )
