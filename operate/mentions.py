"""Finds where stored data names a user: by the id, which is all that the service itself knows a person by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from realtime.audiences import connection_of
from realtime.ids import parse_id

_ONES_OWN = frozenset({"calls", "notifications", "live", "awaited"})  # the first word of partitions that are a user's
_ABOUT_ONE = frozenset({"feed", "presence", "watched"})
_OTHER_IDS = frozenset({"call_id", "connection_id", "event_id", "message_id", "last_id"})
_JSON = ("{", "[")


class Mentions:
    """Says whether values name one user, or one of the connections that the user has had."""

    def __init__(self, user_id: str, connection_ids: frozenset[str] = frozenset()) -> None:
        self.user_id = user_id
        self.connection_ids = connection_ids

    def in_name(self, audience: str) -> bool:
        """Return whether the name of an audience, or of a partition of the Events table, has the user."""
        kind, _, rest = audience.partition("/")
        if kind == "posted":
            return self.in_name(rest)
        if kind == "rate":
            return rest in {f"user/{self.user_id}", f"status/{self.user_id}"}
        if (connection_id := connection_of(audience)) is not None:
            return connection_id in self.connection_ids
        return kind in _ONES_OWN | _ABOUT_ONE and rest == self.user_id

    def in_set(self, value: object) -> bool:
        """Return whether a set of strings has the user's id."""
        return isinstance(value, frozenset) and self.user_id in value

    def in_json(self, text: str) -> bool:
        """Return whether a text is JSON that names the user, at whatever depth, also within texts of JSON."""
        try:
            return self.in_value(json.loads(text))
        except (ValueError, RecursionError):
            return False

    def in_value(self, value: Any, key: str = "") -> bool:
        """Return whether a value of JSON names the user: as an id under a key that holds ids, or as an audience."""
        if isinstance(value, Mapping):
            # DynamoDB's form of a value, {"S": "123"}, belongs to the key before it
            return any(self.in_value(each, key if name in {"S", "N"} else str(name)) for name, each in value.items())
        if isinstance(value, list):
            return any(self.in_value(each, key) for each in value)
        if isinstance(value, str) and value.startswith(_JSON):
            return self.in_json(value)
        if _holds_ids(key) and self._is_the_user(value):
            return True
        return isinstance(value, str) and (value in self.connection_ids or self.in_name(value))

    def _is_the_user(self, value: object) -> bool:
        try:
            return parse_id(value) == self.user_id
        except ValueError:
            return False


def _holds_ids(key: str) -> bool:
    """Return whether values under a key may be ids of users: of the service's own keys, and of backends' by custom."""
    return (key == "to" or key.endswith(("_id", "_ids", "Id", "Ids"))) and key not in _OTHER_IDS
