"""Who a client is: the JWT that it connects with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Protocol

import jwt

from realtime.errors import AuthFailed, PermissionDenied, Unavailable
from realtime.ids import parse_id
from realtime.messages import ENDPOINTS

# Clocks of the token's maker and of Lambda may differ by so many seconds.
LEEWAY_SECONDS = 10
LAST_SECOND = 253_402_300_799  # of the year 9999: no later time can be written
_SHARED = frozenset({"HS256"})
_PUBLISHED = frozenset({"RS256", "ES256"})


@dataclass(frozen=True, slots=True)
class Identity:
    """What a good token says; `expires_at` in s since the epoch."""

    user_id: str
    expires_at: int
    endpoints: frozenset[str]
    username: str | None = None
    role: str | None = None

    def check(self, endpoint: str) -> None:
        """Raise PermissionDenied unless the token is for this endpoint."""
        if endpoint not in self.endpoints:
            raise PermissionDenied(reason=f"user {self.user_id} has no scope {endpoint}")


class SharedKeySource(Protocol):
    """Where the HS256 secrets come from."""

    def candidates(self, kid: str | None) -> list[str]:
        """Return the secrets that may have signed a token with this key id."""


class PublishedKeySource(Protocol):
    """Where the RS256 and ES256 public keys come from; `jwt.PyJWKClient` is one."""

    def get_signing_key(self, kid: str) -> Any:
        """Return the key of this id."""


class Tokens:
    """Verifies tokens; each family of algorithms is accepted only if its keys are configured, and only with them."""

    def __init__(
        self,
        shared: SharedKeySource | None,
        published: PublishedKeySource | None,
        *,
        issuer: str = "",
        audience: str = "",
    ) -> None:
        self._shared = shared
        self._published = published
        self._issuer = issuer
        self._audience = audience

    def verify(self, token: str | None) -> Identity:
        """Return who the token is about.

        Raises AuthFailed, whose `reason` says why without any part of the token, or Unavailable where the keys
        cannot be had.
        """
        if not token:
            raise AuthFailed(reason="no token")
        if not token.isascii():
            raise AuthFailed(reason="not ASCII")
        claims = self._claims(token)
        try:
            user_id = parse_id(claims["sub"])
        except ValueError as error:
            raise AuthFailed(reason=f"sub {error}") from error
        return Identity(
            user_id=user_id,
            expires_at=min(int(claims["exp"]), LAST_SECOND),
            endpoints=_endpoints(claims.get("scope")),
            username=_text(claims, "username"),
            role=_text(claims, "role"),
        )

    def _claims(self, token: str) -> dict[str, Any]:
        problem: jwt.PyJWTError | None = None
        try:
            header = jwt.get_unverified_header(token)
            keys = self._keys(header.get("alg"), header.get("kid"))
        except (jwt.PyJWKClientConnectionError, JSONDecodeError) as error:
            raise Unavailable("fetching the JWKS") from error
        except jwt.PyJWTError as error:
            raise AuthFailed(reason=type(error).__name__) from error
        for key in keys:
            try:
                return self._decode(token, key, header["alg"])
            except jwt.InvalidSignatureError as error:
                problem = error  # another of the keys may have signed it
            except jwt.PyJWTError as error:
                raise AuthFailed(reason=type(error).__name__) from error
        raise AuthFailed(reason=type(problem).__name__ if problem else "no key for its alg and kid")

    def _keys(self, algorithm: object, kid: str | None) -> list[Any]:
        if not isinstance(algorithm, str):
            return []
        if algorithm in _SHARED and self._shared:
            return list(self._shared.candidates(kid))
        if algorithm in _PUBLISHED and self._published and kid:
            return [self._published.get_signing_key(kid)]
        return []

    def _decode(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],  # already known to be one of the key's own family
            issuer=self._issuer or None,
            audience=self._audience or None,
            leeway=LEEWAY_SECONDS,
            options={
                "require": ["exp", "sub", *(["iss"] if self._issuer else []), *(["aud"] if self._audience else [])],
                "verify_sub": False,  # PyJWT wants a string; marketplaces' ids are numbers, and parse_id takes both
                "verify_aud": bool(self._audience),
            },
        )
        return claims


def published_keys(url: str, make: Callable[..., PublishedKeySource] = jwt.PyJWKClient) -> PublishedKeySource:
    """Return the keys published at a JWKS URL, cached for five minutes and fetched within three seconds."""
    return make(url, cache_jwk_set=True, lifespan=300, timeout=3)


def _endpoints(scope: object) -> frozenset[str]:
    if scope is None:
        return frozenset(ENDPOINTS)
    if not isinstance(scope, str):
        raise AuthFailed(reason="scope is no string")
    return frozenset(scope.split())


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None or (isinstance(value, str) and 0 < len(value) <= 256):
        return value
    raise AuthFailed(reason=f"{name} must be a string of 1 to 256 characters")
