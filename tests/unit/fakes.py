"""Stand-ins for what the units under test speak to: small, in memory, with the answers that the real ones give."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError


class Sleeps:
    """Stands for time.sleep: notes how long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def __len__(self) -> int:
        return len(self.seconds)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def aws_error(code: str, operation: str = "Operation", **more: Any) -> ClientError:
    """Return an error as botocore raises it."""
    response: Any = {"Error": {"Code": code, "Message": f"{code} happened"}, **more}
    return ClientError(response, operation)
