"""Asks the service's function `admin`: who is online, a user's connections, their end, and counts.

admin = Admin.of_boto3(function="…")  # the stack's output AdminFunctionArn
for user in admin.who([123, 456]):
    print(user["user_id"], user["is_online"])
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

from listener_realtime.messages import ConnectionNow, Counts, Id, UserNow

USERS_AT_ONCE = 1000  # the function's limit


class Invoke(Protocol):
    """`invoke` of a client of boto3 or botocore for Lambda."""

    def __call__(self, *, FunctionName: str, Payload: bytes) -> Mapping[str, Any]:  # noqa: N803  # AWS's names
        """Invoke a function, and wait for its answer."""


class AdminError(Exception):
    """The function refuses the request (`BAD_REQUEST`), or failed: `UNAVAILABLE` may pass, `INTERNAL` will not."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Admin:
    """Asks one stack. Each method waits for the network; may be used by several threads."""

    def __init__(self, invoke: Invoke, *, function: str) -> None:
        """Take the output `AdminFunctionArn`."""
        self._invoke, self._function = invoke, function

    @classmethod
    def of_boto3(cls, *, function: str, client: Any = None) -> Self:
        """Use boto3 (the extra `publish`), with this process's credentials and Region unless a client is given."""
        if client is None:
            import boto3  # noqa: PLC0415  # an optional extra

            client = boto3.client("lambda")
        return cls(client.invoke, function=function)

    def who(self, user_ids: Iterable[Id]) -> list[UserNow]:
        """The presence of users as it is now: each once, in this order; whoever is not known is offline."""
        wanted = list(dict.fromkeys(user_ids))
        found: list[UserNow] = []
        for start in range(0, len(wanted), USERS_AT_ONCE):
            found += self._ask("who", user_ids=wanted[start : start + USERS_AT_ONCE])["users"]
        return found

    def connections(self, user_id: Id) -> list[ConnectionNow]:
        """A user's connections, the oldest first."""
        found: list[ConnectionNow] = self._ask("connections", user_id=user_id)["connections"]
        return found

    def disconnect(self, user_id: Id, *, reason: str | None = None, revoke: bool = False) -> list[str]:
        """Close all connections of a user; returns their ids.

        Their clients get the error `AUTH_FAILED` with the reason, and come back with a new token if they get one.
        `revoke` refuses the tokens that were issued until now.
        """
        return self._disconnect(reason, user_id=user_id, **({"revoke": True} if revoke else {}))

    def disconnect_one(self, connection_id: str, *, reason: str | None = None) -> bool:
        """Close one connection; false if it is not there."""
        return bool(self._disconnect(reason, connection_id=connection_id))

    def counts(self) -> Counts:
        """How many users are online, and how many connections each stage has; it reads all of them."""
        found: Any = self._ask("counts")
        counts: Counts = found
        return counts

    def _disconnect(self, reason: str | None, **whom: Any) -> list[str]:
        said = {} if reason is None else {"reason": reason}
        ids: list[str] = self._ask("disconnect", **whom, **said)["connection_ids"]
        return ids

    def _ask(self, action: str, **more: Any) -> dict[str, Any]:
        request = json.dumps({"action": action, **more}, separators=(",", ":"))
        answer = self._invoke(FunctionName=self._function, Payload=request.encode())
        text = answer["Payload"].read()
        if "FunctionError" in answer:  # it ran out of time or memory, or was stopped: it answers everything else
            raise AdminError("UNAVAILABLE", f"the function ended without an answer ({answer['FunctionError']})")
        found: dict[str, Any] = json.loads(text)
        if "error" in found:
            raise AdminError(found["error"]["code"], found["error"]["message"])
        return found
