"""Requests that are signed with AWS Signature Version 4, in the `Authorization` header or in the query string.

Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. The gateway checks each
post, and botocore's own code would take four times as long; the tests sign with botocore, so that both sides agree.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, unquote_to_bytes

from botocore.utils import normalize_url_path

if TYPE_CHECKING:
    from multidict import MultiMapping

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_CLOCK_SKEW: Final = timedelta(minutes=5)
_WITHOUT_EXPIRES: Final = timedelta(minutes=15)
"""How long a query string without `X-Amz-Expires` counts."""
_MOST_EXPIRES: Final = 604_800
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_BYTES: Final = "surrogateescape"
"""How bytes that are not UTF-8 stand in the texts of a request, and become bytes again."""


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
    session_token: str

    @classmethod
    def of(cls, headers: Mapping[str, str], query_string: str) -> Signature | None:
        """Read a request's signature; None if it has none, or one that cannot be read.

        `headers` are looked up without case.
        """
        fields = _fields(query_string) if query_string else {}
        in_query = fields.get("x-amz-algorithm") == ALGORITHM
        if not in_query:
            algorithm, _, rest = headers.get("Authorization", "").partition(" ")
            if algorithm != ALGORITHM:
                return None
            parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
            fields = {f"x-amz-{name.lower()}": value for name, value in parts.items()}
            fields["x-amz-date"] = headers.get("X-Amz-Date", "")
            fields["x-amz-security-token"] = headers.get("X-Amz-Security-Token", "")
        try:
            access_key, _date, region, service, _ = fields["x-amz-credential"].split("/")
            if not access_key.isascii():
                return None
            return cls(
                access_key=access_key,
                region=region,
                service=service,
                signed_headers=tuple(fields["x-amz-signedheaders"].split(";")),
                value=fields["x-amz-signature"],
                made_at=fields["x-amz-date"],
                lasts=_lasts(fields.get("x-amz-expires")) if in_query else _CLOCK_SKEW,
                session_token=fields.get("x-amz-security-token", ""),
            )
        except (KeyError, ValueError):
            return None

    def is_current(self, now: datetime) -> bool:
        """Return whether the signature counts now."""
        made_at = _moment(self.made_at)
        return made_at is not None and -_CLOCK_SKEW <= now - made_at <= self.lasts

    def is_of(self, secret: str, method: str, raw_path: str, headers: MultiMapping[str], body: bytes) -> bool:
        """Return whether the request was signed with a secret. `raw_path` is path and query string as they came."""
        path, _, query = raw_path.partition("?")
        names = sorted(name.lower() for name in self.signed_headers)
        if "host" not in names:  # it would be good for each server with that path
            return False
        payload = _UNSIGNED if headers.get("X-Amz-Content-SHA256") == _UNSIGNED else _sha256(body)
        canonical = "\n".join(
            (
                method,
                _canonical_path(path),
                _canonical_query(query) if query else "",
                *(f"{name}:{_canonical_values(headers.getall(name, ()))}" for name in names),
                "",
                ";".join(names),
                payload,
            )
        )
        scope = f"{self.made_at[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"{ALGORITHM}\n{self.made_at}\n{scope}\n{_sha256(canonical.encode(errors=_BYTES))}"
        key = _signing_key(secret, self.made_at[:8], self.region, self.service)
        return hmac.compare_digest(_hmac(key, text).hex().encode(), self.value.encode(errors=_BYTES))


@lru_cache(maxsize=16_384)
def _canonical_path(path: str) -> str:
    """Return a path as it is signed; all posts to a connection have the same."""
    return quote(normalize_url_path(path), safe="/~", errors=_BYTES)


def _canonical_query(query: str) -> str:
    """Return a query string as it is signed; not every client encodes in its URL what it encoded when it signed."""
    raw = query.encode(errors=_BYTES).split(b"&")
    pairs = [[quote(unquote_to_bytes(part), safe="-_.~") for part in pair.partition(b"=")[::2]] for pair in raw]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs) if name.lower() != "x-amz-signature")


def _canonical_values(values: Sequence[str]) -> str:
    """Return a header as it is signed: the values of all lines with its name."""
    return " ".join(values[0].split()) if len(values) == 1 else ",".join(" ".join(value.split()) for value in values)


def _fields(query: str) -> dict[str, str]:
    """Return a query string's values by name in lower case; a plus in a session token is no space."""
    pairs = (pair.partition("=")[::2] for pair in query.split("&"))
    return {unquote(name).lower(): unquote(value) for name, value in pairs}


def _lasts(expires: str | None) -> timedelta:
    """Return how long a query string counts.

    Raises:
        ValueError: it says no time between a second and a week.
    """
    if expires is None:
        return _WITHOUT_EXPIRES
    if not 1 <= (seconds := int(expires)) <= _MOST_EXPIRES:
        raise ValueError(expires)
    return timedelta(seconds=seconds)


@lru_cache(maxsize=256)
def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
