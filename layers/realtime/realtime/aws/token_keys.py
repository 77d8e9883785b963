"""The shared secrets that sign tokens, from SSM or Secrets Manager."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from realtime.aws.clients import aws_errors
from realtime.cached_keys import CachedKeys
from realtime.errors import ConfigurationError
from realtime.text import describe_value, loads

MIN_SECRET_BYTES = 32  # the least size of an HS256 key (RFC 7518, 3.2)
# Parameter Store answers 40 requests a second, so 300 new instances at once have their keys within 7 s. A handshake may
# take 10 s of the function's time.
PATIENCE_SECONDS = 7.5


class SharedKeys:
    """The secrets by key id, from an SSM SecureString's name or a Secrets Manager secret's ARN.

    The value is a JSON object of key id → secret, or one bare secret (key id: none). `client` returns a service's
    client, which should try once and not wait long, because `CachedKeys` tries again.
    """

    def __init__(
        self, client: Callable[[str], Any], reference: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._reference = reference
        self._cached = CachedKeys(
            f"the token keys {reference}", self._read, clock, patience=PATIENCE_SECONDS, cool_down=0
        )

    def candidates(self, kid: str | None) -> list[str]:
        """Return the secrets that may have signed a token with this `kid`: all of them if it has none."""
        keys = self._cached.get(kid)
        if kid is None or "" in keys:
            return list(keys.values())
        return [keys[kid]] if kid in keys else []

    def _read(self) -> Mapping[str, str]:
        with aws_errors(f"reading the token keys {self._reference}"):
            if self._reference.startswith("arn:"):
                answer = self._client("secretsmanager").get_secret_value(SecretId=self._reference)
                return parse_keys(str(answer["SecretString"]), self._reference)
            answer = self._client("ssm").get_parameter(Name=self._reference, WithDecryption=True)
            return parse_keys(str(answer["Parameter"]["Value"]), self._reference)


def parse_keys(text: str, reference: str) -> Mapping[str, str]:
    """Read the stored value.

    Raises ConfigurationError, which names the reference and never the value.
    """
    text = text.strip()
    if not text:
        raise ConfigurationError(f"the token keys {reference} are empty")
    keys: object = {"": text}
    if text.startswith("{"):
        try:
            keys = loads(text)
        except ValueError:
            keys = None
    if not isinstance(keys, dict) or not keys or not all(isinstance(key, str) and key for key in keys.values()):
        raise ConfigurationError(f"the token keys {reference} must be a JSON object of key id to secret, or one secret")
    for kid, secret in keys.items():
        if len(secret.encode(errors="surrogatepass")) < MIN_SECRET_BYTES:
            which = f"the secret of key id {describe_value(kid)}" if kid else "the secret"
            raise ConfigurationError(
                f"the token keys {reference}: {which} is shorter than {MIN_SECRET_BYTES} bytes and could be guessed; "
                "make one with `openssl rand -base64 48`, and sign tokens with it"
            )
    return keys
