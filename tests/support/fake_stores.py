"""Stores of token keys that answer as many reads a second as AWS does: stand-ins for botocore's clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

PARAMETER_STORE_READS = 40  # a second, of GetParameter by default, for the whole account and Region
SECRETS_MANAGER_READS = 10_000


class TokenBucket:
    """Lets a number of requests a second through, and the same number at once after a quiet second."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = self._left = float(rate)
        self._clock = clock
        self._at = clock()

    def take(self) -> bool:
        now = self._clock()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class FakeStores:
    """SSM and Secrets Manager, as `aws.client` returns them by name; both hold one value under every name."""

    def __init__(self, value: str, clock: Callable[[], float]) -> None:
        self.value = value
        self.reads = {"ssm": 0, "secretsmanager": 0}  # those refused included
        self._buckets = {
            "ssm": TokenBucket(PARAMETER_STORE_READS, clock),
            "secretsmanager": TokenBucket(SECRETS_MANAGER_READS, clock),
        }

    def __call__(self, service: str) -> FakeStores:
        return self

    def get_parameter(self, *, Name: str, WithDecryption: bool) -> dict[str, Any]:  # noqa: N803  # AWS's names
        assert WithDecryption
        self._read("ssm", "GetParameter")
        return {"Parameter": {"Name": Name, "Value": self.value}}

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803
        self._read("secretsmanager", "GetSecretValue")
        return {"ARN": SecretId, "SecretString": self.value}

    def _read(self, service: str, operation: str) -> None:
        self.reads[service] += 1
        if not self._buckets[service].take():
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, operation)
