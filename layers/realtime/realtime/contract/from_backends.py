"""What the events of backends mean. Their types, with which they are validated, are in `backend_events`."""

from __future__ import annotations

SUMMARIES = {
    "call_started": "A call began. Both participants receive it, and become busy.",
    "call_ended": "A call ended. Both participants receive it, and become available.",
    "call_billing": "A call was billed. Both participants receive it.",
    "favorite_added": "A user added the recipients to their favourites.",
    "favorite_removed": "A user removed the recipients from their favourites.",
    "user_blocked": "A user blocked the recipients, who receive no presence of the user from then on.",
    "user_unblocked": "A user blocks the recipients no more; they receive the user's presence again.",
    "system_notification": "Whatever you like, for some users or everyone.",
    "status_change": "A user set themselves to busy or available. Those who see their presence receive it.",
    "session_revoked": "All connections of a user are closed, and tokens issued before the event are refused.",
}
