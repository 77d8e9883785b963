"""The client of Listener Realtime, and a publisher for its backends.

    from listener_realtime import connect
    from listener_realtime import Publisher, events

`connect` and `Realtime` are the client, `Presence` and `Calls` keep what messages add up to. `events` has a function
for each event of a backend, and a `Publisher` puts them on the bus.
"""

from listener_realtime import events
from listener_realtime.client import Realtime, StateChange, connect
from listener_realtime.events import Event, InvalidEvent
from listener_realtime.line import State
from listener_realtime.messages import Message
from listener_realtime.publishing import NotPublished, Publisher
from listener_realtime.stores import Calls, Presence

__all__ = [
    "Calls",
    "Event",
    "InvalidEvent",
    "Message",
    "NotPublished",
    "Presence",
    "Publisher",
    "Realtime",
    "State",
    "StateChange",
    "connect",
    "events",
]
