# Reports a call. Usage: python publish.py BUS
import sys

from listener_realtime import Publisher, events

publisher = Publisher.of_boto3(bus=sys.argv[1], source="marketplace")
started = events.call_started(
    call_id=456, user_id=123, listener_id=789, call_type="audio", status="ongoing", key="call-456-started"
)
for event_id in publisher.put(started):
    print(event_id)
