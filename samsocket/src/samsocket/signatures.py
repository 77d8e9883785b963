"""Requests that are signed with AWS Signature Version 4, in the `Authorization` header or in the query string.

Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. botocore writes what is
signed, so that both sides agree.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_CLOCK_SKEW: Final = timedelta(minutes=5)
_UNLIMITED: Final = timedelta(minutes=15)
"""How long a query string without `X-Amz-Expires` counts."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A request's signature: `made_at` is its time, `lasts` how long it counts from then."""

    access_key: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    value: str
    made_at: str
    lasts: timedelta
    in_query: bool

    @classmethod
    def of(cls, headers: Mapping[str, str], query_string: str) -> Signature | None:
        """Read a request's signature; None if it has none, or one that cannot be read.

        `headers` are looked up without case.
        """
        fields = {name.lower(): value for name, value in parse_qsl(query_string)}
        in_query = fields.get("x-amz-algorithm") == ALGORITHM
        if not in_query:
            algorithm, _, rest = headers.get("Authorization", "").partition(" ")
            if algorithm != ALGORITHM:
                return None
            parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
            fields = {f"x-amz-{name.lower()}": value for name, value in parts.items()}
            fields["x-amz-date"] = headers.get("X-Amz-Date", "")
        try:
            access_key, _date, region, service, _ = fields["x-amz-credential"].split("/")
            lasts = timedelta(seconds=int(fields["x-amz-expires"])) if "x-amz-expires" in fields else _UNLIMITED
            return cls(
                access_key=access_key,
                region=region,
                service=service,
                signed_headers=tuple(fields["x-amz-signedheaders"].split(";")),
                value=fields["x-amz-signature"],
                made_at=fields["x-amz-date"],
                lasts=lasts if in_query else _CLOCK_SKEW,
                in_query=in_query,
            )
        except (KeyError, ValueError):
            return None

    def is_current(self, now: datetime) -> bool:
        """Return whether the signature counts now."""
        try:
            made_at = datetime.strptime(self.made_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return False
        return made_at - _CLOCK_SKEW <= now <= made_at + self.lasts

    def is_of(self, secret: str, method: str, raw_path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Return whether the request was signed with a secret. `raw_path` is path and query string as they came."""
        path, _, query = raw_path.partition("?")
        # Not every client encodes in its URL what it encoded when it signed.
        pairs = [[quote(unquote(part), safe="-_.~") for part in pair.partition("=")[::2]] for pair in query.split("&")]
        kept = [f"{name}={value}" for name, value in pairs if name.lower() != "x-amz-signature"]
        url = f"http://{headers.get('Host', '')}{path}" + (f"?{'&'.join(kept)}" if query else "")
        request = AWSRequest(method, url, data=body)
        for name in self.signed_headers:
            request.headers[name] = headers.get(name, "")
        request.context["timestamp"] = self.made_at
        signer = _Checker(Credentials("", secret), self.service, self.region)
        wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        return hmac.compare_digest(wanted, self.value)


class _Checker(SigV4Auth):
    """Signs exactly the headers of a request; botocore leaves out some that others sign."""

    def headers_to_sign(self, request: Any) -> Any:
        return request.headers
