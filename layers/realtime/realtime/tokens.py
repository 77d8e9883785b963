"""Verify the JWT with which a client connects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from realtime.cached_keys import CachedKeys
from realtime.errors import AuthFailed, PermissionDenied, Unavailable
from realtime.ids import parse_id
from realtime.messages import ENDPOINTS
from realtime.text import parse_name

# How far the clocks of the token's issuer and of Lambda may differ.
LEEWAY_SECONDS = 10
_SURELY_WRONG_SECONDS = 1000 * 366 * 86_400
_FETCH_SECONDS = 1.5  # the timeout of each step of fetching the JWKS; a handshake waits for it
_COOL_DOWN_SECONDS = 5  # after a failed first fetch of the JWKS, handshakes are refused at once for this time
_SHARED = frozenset({"HS256"})
_PUBLISHED = frozenset({"RS256", "ES256"})


@dataclass(frozen=True, slots=True)
class Identity:
    """The claims of a valid token; times since the epoch."""

    user_id: str
    issued_at_s: int  # the earliest that it may have been issued, if it does not say
    expires_at_s: int
    endpoints: frozenset[str]
    username: str | None = None
    role: str | None = None

    @property
    def may_set_status(self) -> bool:
        """Whether the scope names it: a token without a scope is good for all endpoints, and for nothing else."""
        return "status" in self.endpoints

    def check_endpoint(self, endpoint: str) -> None:
        """Raise PermissionDenied unless the token's scope includes this endpoint."""
        if endpoint not in self.endpoints:
            named = ", ".join(sorted(self.endpoints & set(ENDPOINTS))) or "none of the endpoints"
            raise PermissionDenied(reason=f"the scope of user {self.user_id} names {named}, not {endpoint}")


class SharedKeySource(Protocol):
    """The source of the HS256 secrets."""

    def candidates(self, kid: str | None) -> list[str]:
        """Return the secrets that may have signed a token with this key id."""


class PublishedKeySource(Protocol):
    """The source of the RS256 and ES256 public keys."""

    def get_signing_key(self, kid: str) -> Any:
        """Return the key with this id."""


class Tokens:
    """Verify tokens; a family of algorithms is accepted only if its keys are configured, and only with those keys."""

    def __init__(
        self,
        shared: SharedKeySource | None,
        published: PublishedKeySource | None,
        *,
        max_seconds: int,
        issuer: str = "",
        audience: str = "",
    ) -> None:
        """Take the sources of keys; a token that is good for longer than `max_seconds` from now is refused."""
        self._shared = shared
        self._published = published
        self._max_seconds = max_seconds
        self._issuer = issuer
        self._audience = audience

    def verify(self, token: str | None) -> Identity:
        """Return the identity that the token proves.

        Raises AuthFailed, whose `reason` quotes no part of the token, or Unavailable if the keys cannot be read.
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
        expires_at_s = self._expiry(claims)
        return Identity(
            user_id=user_id,
            issued_at_s=max(0, int(claims.get("iat", expires_at_s - self._max_seconds))),
            expires_at_s=expires_at_s,
            endpoints=_endpoints(claims.get("scope")),
            username=_text(claims, "username"),
            role=_text(claims, "role"),
        )

    def _expiry(self, claims: dict[str, Any]) -> int:
        expires_at_s = int(claims["exp"])
        ahead_s = expires_at_s - int(time.time()) - LEEWAY_SECONDS
        if ahead_s > self._max_seconds:
            hint = ": is it in milliseconds? it must be in seconds" if ahead_s > _SURELY_WRONG_SECONDS else ""
            raise AuthFailed(reason=f"exp is {ahead_s // 86_400} days ahead, more than MaxTokenSeconds allows{hint}")
        return expires_at_s

    def _claims(self, token: str) -> dict[str, Any]:
        problem: jwt.PyJWTError | None = None
        try:
            header = jwt.get_unverified_header(token)
            keys = self._keys(header.get("alg"), header.get("kid"))
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
        if kid:
            _check_name("kid", kid)
        if algorithm in _SHARED and self._shared:
            return list(self._shared.candidates(kid))
        if algorithm in _PUBLISHED and self._published and kid:
            return [self._published.get_signing_key(kid)]
        return []

    def _decode(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],  # `_keys` has checked that it belongs to the key's family
            issuer=self._issuer or None,
            audience=self._audience or None,
            leeway=LEEWAY_SECONDS,
            options={
                "require": ["exp", "sub"],  # PyJWT itself requires `iss` and `aud` if it is to check them
                "verify_sub": False,  # PyJWT requires a string; ids may be numbers, and parse_id accepts both
                "verify_aud": bool(self._audience),
            },
        )
        return claims


class PublishedKeys:
    """The public keys that a JWKS URL publishes."""

    def __init__(
        self, url: str, fetch: Callable[[], Any] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the URL; `fetch` returns the parsed JSON that is published there."""
        # PyJWT caches nothing: CachedKeys decides about old keys and about a server that does not answer.
        self._fetch = fetch or jwt.PyJWKClient(url, cache_jwk_set=False, timeout=_FETCH_SECONDS).fetch_data
        self._cached = CachedKeys(f"the JWKS {url}", self._read, clock, patience=0, cool_down=_COOL_DOWN_SECONDS)

    def get_signing_key(self, kid: str) -> jwt.PyJWK:
        """Return the key with this id.

        Raises PyJWKClientError if there is none, and Unavailable if that cannot be known now.
        """
        found = self._cached.get(kid).get(kid)
        if found is None:
            raise jwt.PyJWKClientError("no key of this id is published")
        return found

    def _read(self) -> dict[str, jwt.PyJWK]:
        try:
            published = jwt.PyJWKSet.from_dict(self._fetch())
            keys = {each.key_id: each for each in published if each.key_id and each.public_key_use in {"sig", None}}
        except Exception as error:  # whatever the server answers, the cached keys stay valid
            raise Unavailable(f"fetching the JWKS: {type(error).__name__}") from error
        if not keys:
            raise Unavailable("fetching the JWKS: it holds no key with an id that signs")
        return keys


def _endpoints(scope: object) -> frozenset[str]:
    if scope is None:
        return frozenset(ENDPOINTS)
    words = scope.split() if isinstance(scope, str) else scope
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise AuthFailed(reason="scope is neither a string nor a list of strings")
    return frozenset(words)


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return None if value is None else _check_name(name, value)


def _check_name(name: str, value: object) -> str:
    try:
        return parse_name(value)
    except ValueError as error:
        raise AuthFailed(reason=f"{name} {error}") from error
