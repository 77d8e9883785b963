"""The shared secrets that tokens are signed with: kept in SSM or Secrets Manager, read again every few minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from realtime.aws import aws_errors
from realtime.errors import ConfigurationError, Unavailable

REFRESH_SECONDS = 300  # a rotated key is known after so long at the latest
MIN_REFRESH_SECONDS = 30  # an unknown `kid` asks sooner, but not more often than this


class SharedKeys:
    """The secrets by key id, from an SSM SecureString's name or a Secrets Manager secret's ARN.

    The value is a JSON object of key id → secret, or one bare secret (key id: none).
    """

    def __init__(
        self, client: Callable[[str], Any], reference: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._reference = reference
        self._clock = clock
        self._keys: Mapping[str, str] = {}
        self._read_at = self._not_before = float("-inf")

    def candidates(self, kid: str | None) -> list[str]:
        """Return the secrets that may have signed a token with this `kid`: all of them where it has none."""
        self._refresh(REFRESH_SECONDS)
        if kid is not None and kid not in self._keys and "" not in self._keys:
            self._refresh(MIN_REFRESH_SECONDS)
        if kid is None or "" in self._keys:
            return list(self._keys.values())
        return [self._keys[kid]] if kid in self._keys else []

    def _refresh(self, max_age: float) -> None:
        now = self._clock()
        if now - self._read_at < max_age or now < self._not_before:
            return
        try:
            self._keys = parse(self._read(), self._reference)
            self._read_at = now
        except Unavailable:
            if not self._keys:
                raise
            self._not_before = now + MIN_REFRESH_SECONDS  # those we have are good until we hear otherwise

    def _read(self) -> str:
        with aws_errors(f"reading the token keys {self._reference}"):
            if self._reference.startswith("arn:"):
                answer = self._client("secretsmanager").get_secret_value(SecretId=self._reference)
                return str(answer["SecretString"])
            answer = self._client("ssm").get_parameter(Name=self._reference, WithDecryption=True)
            return str(answer["Parameter"]["Value"])


def parse(text: str, reference: str) -> Mapping[str, str]:
    """Read the stored value.

    Raises ConfigurationError, which names the reference and never the value.
    """
    text = text.strip()
    if not text.startswith("{"):
        if not text:
            raise ConfigurationError(f"the token keys {reference} are empty")
        return {"": text}
    try:
        keys = json.loads(text)
    except ValueError:
        keys = None
    if not isinstance(keys, dict) or not keys or not all(isinstance(key, str) and key for key in keys.values()):
        raise ConfigurationError(f"the token keys {reference} must be a JSON object of key id to secret, or one secret")
    return keys
