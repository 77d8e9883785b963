"""Signs tokens as the marketplace's own backend does, for trials and tests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

import jwt

SECRET_BYTES = 32
"""HS256 needs a secret no shorter than its hash (RFC 7518, section 3.2)."""


def new_secret() -> str:
    """Return a random secret."""
    return secrets.token_urlsafe(SECRET_BYTES)


def sign(
    keys: Mapping[str | None, str],
    user: str,
    *,
    ttl: float = 3600,
    username: str | None = None,
    role: str | None = None,
    scope: str | None = None,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """A token for a user, signed (HS256) with the first key. `ttl` is in seconds; a negative one means expired."""
    key_id, secret = next(iter(keys.items()))
    now = time.time()
    optional = {"username": username, "role": role, "scope": scope, "iss": issuer, "aud": audience}
    claims = {"sub": user, "iat": int(now), "exp": int(now + ttl)} | {
        k: v for k, v in optional.items() if v is not None
    }
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id} if key_id else None)
