"""The cold start of each function: its imports, and all objects that its first invocation creates."""

from __future__ import annotations

# What the first invocation creates in addition to what `bootstrap` wires: clients that are created on first use.
FIRST = {
    "connect": "bootstrap.admission(); clients.client('ssm')",
    "disconnect": "bootstrap.disconnect_registry()",
    "default": "bootstrap.frame_handler()",
    "ingest": "bootstrap.ingestion()",
    "announce": "bootstrap.announcer()",
    "broadcast": "bootstrap.broadcaster(); bootstrap.poster(endpoint, 5000, 'events', 'narrow').pool",
    "deadlines": "bootstrap.deadlines()",
    "farewell": "bootstrap.farewell_sender(); bootstrap.poster(endpoint, 5000, 'events', 'farewell').pool",
    "late": "bootstrap.late_lane(); bootstrap.poster(endpoint, 5000, 'events', 'late').pool",
    "admin": "bootstrap.admin()",
    "sweep": "bootstrap.sweeper(); bootstrap.poster(endpoint, 5000, 'events', 'sweep').pool",
}

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "ASIAEXAMPLEEXAMPLE12",
    "AWS_SECRET_ACCESS_KEY": "x" * 40,
    "AWS_SESSION_TOKEN": "t" * 900,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "CONNECTIONS_TABLE": "connections",
    "USERS_TABLE": "users",
    "BLOCKS_TABLE": "blocks",
    "EVENTS_TABLE": "events",
    "AUDIENCE_SHARDS": "4",
    "TOKEN_KEYS": "/realtime/token-keys",
    "MAX_TOKEN_SECONDS": "2592000",
    "REJECTION_MODE": "frame",
    "MAX_CONNECTIONS_POLICY": "evict",
    "FAREWELLS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/farewells",
    "LATE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/late",
    "BACKEND_EVENTS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/backend-events",
    "MAX_CONNECTIONS_PER_USER": "20",
    "LEASE_SECONDS": "900",
    "FEED_ROLE": "listener",
    "MANAGEMENT_ENDPOINT": "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
    "POSTS_PER_SECOND": "5000",
    "REACH": "narrow",
    "PRESENCE_LATENESS_SECONDS": "10",
    "FAILURES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/failures",
    "MESSAGE_RATE": "1000000",
    "MESSAGE_BURST": "1000000",
    "USER_MESSAGE_RATE": "1000000",
    "COUNT_ONE_FRAME_IN": "6",
    "REFUSAL_RATE": "2",
    "REFUSAL_BURST": "100",
    "HISTORY_SECONDS": "86400",
    "PRESENCE_HISTORY_SECONDS": "3600",
    "GRACE_PERIOD_SECONDS": "10",
    "CALL_LEASE_SECONDS": "14400",
    "REJECTED_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/rejected",
    "DEADLINES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/deadlines",
    "EVENT_BUS": "realtime",
}


def code_of(function: str) -> str:
    """Return the code that a cold start of a function runs."""
    wiring = "from realtime import bootstrap; from realtime.aws import clients; from realtime.log import logger"
    endpoint = f"endpoint = {ENVIRONMENT['MANAGEMENT_ENDPOINT']!r}"
    return f"import {function}; {wiring}; {endpoint}; {FIRST[function]}; logger()"
