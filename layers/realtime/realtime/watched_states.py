"""The states of watched users, as the messages that a client that was away gets.

Changes of presence are recorded for everyone, not for each watched user. A client that watches and comes back needs the
states as they are now, not what happened in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from realtime.audiences import endpoint_of, personal, watched_user
from realtime.presence import current_messages
from realtime.tables.entries import Entry, Message
from realtime.tables.users import User, Users


class WatchedStates:
    """Read the states of watched users."""

    def __init__(self, users: Users, *, feed_role: str, history_seconds: int) -> None:
        self._users = users
        self._feed_role = feed_role
        self._history_seconds = history_seconds

    def since(self, audiences: Sequence[str], changed_since_ms: int) -> Iterator[Entry]:
        """Yield the state of each user that these audiences are about and that changed since then, oldest first.

        A message that was sent about the user's last change has the same id.
        """
        users = self._users.get_many(list(dict.fromkeys(map(watched_user, audiences))))
        endpoints = dict.fromkeys(map(endpoint_of, audiences))
        for user in sorted(users, key=lambda user: user.changed_at_ms):
            if user.changed_at_ms < changed_since_ms:
                continue
            for endpoint, message in self._messages(user, endpoints):
                yield Entry(
                    audience=personal(endpoint, user.user_id),
                    event_id=message.event_id,
                    kind=message.kind,
                    message=message.frame,
                    expires_at_s=user.changed_at_ms // 1000 + self._history_seconds,
                    hidden_from=user.hidden_from,
                    subject=user.user_id,
                    version=user.version,
                )

    def _messages(self, user: User, endpoints: Iterable[str]) -> Iterator[tuple[str, Message]]:
        for endpoint in endpoints:
            for message in current_messages(user, endpoint, self._feed_role):
                yield endpoint, message
