"""Wiring: what each Lambda function works with, made at its first invocation and kept for the next ones.

Imports stand inside the functions, so that a function loads only what it uses.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from realtime import settings
from realtime.aws import clients

if TYPE_CHECKING:
    from realtime.announce import Announcer
    from realtime.aws.queues import Queue
    from realtime.broadcast import Broadcaster
    from realtime.connect import Admission
    from realtime.deadlines import Deadlines
    from realtime.default import FrameHandler
    from realtime.farewell import Farewells, FarewellSender
    from realtime.ingest import Ingestion
    from realtime.posting.poster import Poster
    from realtime.sweep import Sweeper
    from realtime.tables.outbox import Outbox
    from realtime.tables.registry import Registry
    from realtime.tokens import Tokens


@cache
def outbox(table: str) -> Outbox:
    """Return the outbox."""
    from realtime.tables.outbox import Outbox

    return Outbox(clients.client("dynamodb"), table)


@cache
def registry(connections_table: str, users_table: str) -> Registry:
    """Return the register of who is connected."""
    from realtime.tables.connections import Connections
    from realtime.tables.registry import Registry
    from realtime.tables.users import Users

    client = clients.client("dynamodb")
    return Registry(client, Connections(client, connections_table), Users(client, users_table))


@cache
def admission() -> Admission:
    """Return what `connect` works with."""
    from realtime.connect import Admission

    config = settings.load(settings.ConnectSettings)
    return Admission(
        _tokens(config),
        registry(config.connections_table, config.users_table),
        cache(lambda: _farewells(config.events_table, config.farewells_queue_url)),
        rejection_mode=config.rejection_mode,
        shards=config.audience_shards,
        lease_seconds=config.lease_seconds,
        max_connections=config.max_connections_per_user,
    )


def _farewells(events_table: str, queue_url: str) -> Farewells:
    from realtime.aws.queues import Queue
    from realtime.farewell import Farewells

    return Farewells(outbox(events_table), Queue(clients.client("sqs"), queue_url))


def _tokens(chosen: settings.TokenSettings) -> Tokens:
    from realtime.aws.token_keys import SharedKeys
    from realtime.tokens import PublishedKeys, Tokens

    return Tokens(
        SharedKeys(clients.client, chosen.token_keys) if chosen.token_keys else None,
        PublishedKeys(chosen.jwks_url) if chosen.jwks_url else None,
        issuer=chosen.token_issuer,
        audience=chosen.token_audience,
    )


@cache
def disconnect_registry() -> Registry:
    """Return what `disconnect` works with."""
    chosen = settings.load(settings.DisconnectSettings)
    return registry(chosen.connections_table, chosen.users_table)


@cache
def frame_handler() -> FrameHandler:
    """Return what `default` works with."""
    from realtime.default import FrameHandler
    from realtime.rate_limit import RateLimit
    from realtime.replay import Replay
    from realtime.snapshots import Snapshots
    from realtime.tables.connections import Connections
    from realtime.tables.users import Users
    from realtime.watching import Watching

    chosen = settings.load(settings.DefaultSettings)
    client = clients.client("dynamodb")
    connections = Connections(client, chosen.connections_table)
    events = outbox(chosen.events_table)
    return FrameHandler(
        connections,
        events,
        RateLimit(chosen.message_rate, chosen.message_burst, time.time),
        Watching(connections),
        Snapshots(connections, Users(client, chosen.users_table), events, feed_role=chosen.feed_role),
        Replay(
            connections,
            events,
            history_seconds=chosen.history_seconds,
            presence_history_seconds=chosen.presence_history_seconds,
        ),
        cache(lambda: _tokens(chosen)),
        lambda: poster(chosen.management_endpoint, chosen.posts_per_second),
        cache(lambda: _farewells(chosen.events_table, chosen.farewells_queue_url)),
        lease_seconds=chosen.lease_seconds,
    )


@cache
def ingestion() -> Ingestion:
    """Return what `ingest` works with."""
    from realtime.aws.queues import Queue
    from realtime.ingest import Ingestion
    from realtime.tables.calls import Calls
    from realtime.tables.connections import Connections
    from realtime.tables.users import Users

    chosen = settings.load(settings.IngestSettings)
    client = clients.client("dynamodb")
    return Ingestion(
        Connections(client, chosen.connections_table),
        Users(client, chosen.users_table),
        Calls(client, chosen.events_table),
        outbox(chosen.events_table),
        Queue(clients.client("sqs"), chosen.deadlines_queue_url),
        shards=chosen.audience_shards,
        history_seconds=chosen.history_seconds,
    )


@cache
def backend_events() -> Queue:
    """Return the queue that backends' events come by."""
    from realtime.aws.queues import Queue

    return Queue(clients.client("sqs"), settings.load(settings.IngestSettings).backend_events_queue_url)


@cache
def rejected() -> Queue:
    """Return the dead-letter queue for events that break their schema."""
    from realtime.aws.queues import Queue

    return Queue(clients.client("sqs"), settings.load(settings.IngestSettings).rejected_queue_url)


@cache
def announcer() -> Announcer:
    """Return what `announce` works with."""
    from realtime.announce import Announcer
    from realtime.aws.bus import Bus
    from realtime.aws.queues import Queue
    from realtime.presence import Rules

    chosen = settings.load(settings.AnnounceSettings)
    return Announcer(
        outbox(chosen.events_table),
        Bus(clients.client("events"), chosen.event_bus),
        Queue(clients.client("sqs"), chosen.deadlines_queue_url),
        Rules(chosen.audience_shards, chosen.feed_role, chosen.presence_history_seconds),
        grace_seconds=chosen.grace_period_seconds,
    )


@cache
def poster(endpoint: str, posts_per_second: int) -> Poster:
    """Return what posts to connections."""
    from realtime.posting.api import make_poster

    return make_poster(endpoint, clients.region(), clients.frozen_credentials, posts_per_second=posts_per_second)


@cache
def broadcaster() -> Broadcaster:
    """Return what `broadcast` works with."""
    from realtime.broadcast import Broadcaster
    from realtime.tables.connections import Connections

    chosen = settings.load(settings.BroadcastSettings)
    return Broadcaster(
        Connections(clients.client("dynamodb"), chosen.connections_table),
        registry(chosen.connections_table, chosen.users_table),
        poster(chosen.management_endpoint, chosen.posts_per_second),
        failures,
    )


@cache
def failures() -> Queue:
    """Return the dead-letter queue for records of a stream."""
    from realtime.aws.queues import Queue

    return Queue(clients.client("sqs"), settings.load(settings.FailuresSettings).failures_queue_url)


@cache
def deadlines() -> Deadlines:
    """Return what `deadlines` works with."""
    from realtime.aws.bus import Bus
    from realtime.deadlines import Deadlines
    from realtime.tables.users import Users

    chosen = settings.load(settings.DeadlinesSettings)
    return Deadlines(
        Users(clients.client("dynamodb"), chosen.users_table),
        outbox(chosen.events_table),
        Bus(clients.client("events"), chosen.event_bus),
    )


@cache
def farewell_sender() -> FarewellSender:
    """Return what `farewell` works with."""
    from realtime.aws.queues import Queue
    from realtime.farewell import FarewellSender

    chosen = settings.load(settings.FarewellSettings)
    return FarewellSender(
        poster(chosen.management_endpoint, chosen.posts_per_second),
        Queue(clients.client("sqs"), chosen.farewells_queue_url),
    )


@cache
def sweeper() -> Sweeper:
    """Return what `sweep` works with."""
    from realtime.sweep import Policy, Sweeper
    from realtime.tables.calls import Calls
    from realtime.tables.connections import Connections
    from realtime.tables.users import Users

    chosen = settings.load(settings.SweepSettings)
    client = clients.client("dynamodb")
    return Sweeper(
        client,
        Connections(client, chosen.connections_table),
        Users(client, chosen.users_table),
        registry(chosen.connections_table, chosen.users_table),
        Calls(client, chosen.events_table),
        outbox(chosen.events_table),
        poster(chosen.management_endpoint, chosen.posts_per_second),
        Policy(chosen.lease_seconds, chosen.grace_period_seconds, chosen.call_lease_seconds),
    )
