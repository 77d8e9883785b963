"""Signature Version 4 for many small requests to one host: the parts that they share are not computed for each request.

The signing key is computed once a day; the date, the scope and the headers to be signed once a second. Each request
needs only one SHA-256 of its canonical form and one HMAC.

tests/unit/posting/test_signing.py compares every signature with botocore's.
docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_BLOCK_BYTES = 64  # the block size of SHA-256; HMAC pads its key to it


class FrozenCredentials(Protocol):
    """A consistent set of credentials, as botocore's `get_frozen_credentials()` returns it."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


def canonical_path(path: str) -> str:
    """Return the form of a path that is signed: percent-encoded once more than the path that is sent.

    All services except S3 require this: `/feed/@connections/a%3D` is signed as `/feed/%40connections/a%253D`.
    """
    return quote(path)


class Signer:
    """Signs requests to one host.

    `credentials` is called once a second, so that it can renew the credentials before they expire, even if the clock
    has jumped because of a SnapStart restore. `headers` raises whatever `credentials` raises.
    """

    def __init__(self, *, host: str, region: str, service: str, credentials: Callable[[], FrozenCredentials]) -> None:
        self._host = host
        self._region = region
        self._service = service
        self._credentials = credentials
        self._second = -1
        self._key_of: tuple[str, str] | None = None  # the secret and the day that the HMAC states were made from

    def headers(self, method: str, path: str, body_sha256: str, now: float) -> list[str]:
        """Return the header lines that sign a request without a query; its only other signed header is `Host`.

        `path` is in canonical form, `body_sha256` in hexadecimal, `now` in s since the epoch.
        """
        if int(now) != self._second:
            self._renew(int(now))
        request = sha256(f"{method}\n{path}{self._signed_headers}{body_sha256}".encode())
        inner = self._inner.copy()
        inner.update(f"{self._scope_to_sign}{request.hexdigest()}".encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return [*self._headers, self._authorization + outer.hexdigest()]

    def _renew(self, second: int) -> None:
        credentials = self._credentials()
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = timestamp[:8]
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        names = "host;x-amz-date"
        signed = f"host:{self._host}\nx-amz-date:{timestamp}\n"
        self._headers = [f"X-Amz-Date: {timestamp}"]
        if credentials.token:
            names += ";x-amz-security-token"
            signed += f"x-amz-security-token:{credentials.token}\n"
            self._headers.append(f"X-Amz-Security-Token: {credentials.token}")
        self._signed_headers = f"\n\n{signed}\n{names}\n"  # the empty line stands for the empty query
        self._scope_to_sign = f"{_ALGORITHM}\n{timestamp}\n{scope}\n"
        credential = f"{credentials.access_key}/{scope}"
        self._authorization = f"Authorization: {_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature="
        if self._key_of != (credentials.secret_key, day):
            self._derive_key(credentials.secret_key, day)
            self._key_of = credentials.secret_key, day
        self._second = second

    def _derive_key(self, secret_key: str, day: str) -> None:
        key = f"AWS4{secret_key}".encode()
        for part in (day, self._region, self._service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        # An HMAC is two hashes that begin with the key (RFC 2104). Copying the two states that have read the key takes
        # 0.7 µs per signature; hmac.digest, which reads the key each time, takes 1.7 µs.
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in padded))
