"""What had to be looked at again later: whether a user who left has stayed away for the grace period."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime.users import Users


def check(users: Users, message: Mapping[str, Any], now: int) -> bool:
    """Set a user offline if no connection of theirs has come since the check was ordered; return whether it did."""
    return users.set_offline(message["user_id"], message["left_at"], now)
