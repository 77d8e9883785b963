"""Wiring: make the objects that each Lambda function uses when they are first needed, and keep them.

Imports stand inside the functions, so that a Lambda function loads only what it uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from realtime import settings
from realtime.aws import clients
from realtime.tables import TableNames, Tables

if TYPE_CHECKING:
    from realtime.admin import Admin
    from realtime.announce import Announcer
    from realtime.aws.queues import Queue
    from realtime.broadcast import Broadcaster
    from realtime.connect import Admission
    from realtime.deadlines import Deadlines
    from realtime.default import FrameHandler
    from realtime.farewell import Farewells, FarewellSender
    from realtime.ingest import Ingestion
    from realtime.late import LateLane
    from realtime.posting.poster import Poster
    from realtime.posting.uses import Purpose
    from realtime.strangers import Strangers
    from realtime.sweep import Sweeper
    from realtime.tables.registry import Registry
    from realtime.tokens import Tokens

P = ParamSpec("P")
T = TypeVar("T")

_forget: list[Callable[[], None]] = []


def _kept(make: Callable[P, T]) -> Callable[P, T]:
    """Keep what a function returns for its next calls; `forget` clears it."""
    kept = cache(make)
    _forget.append(kept.cache_clear)
    return kept  # type: ignore[return-value]  # the cache takes any hashable arguments


def forget() -> None:
    """Forget all that was made, as a new instance of a Lambda function would; for tests."""
    for clear in _forget:
        clear()


@_kept
def admission() -> Admission:
    """Return what `connect` works with."""
    from realtime.connect import Admission

    config = settings.load(settings.ConnectSettings)
    tables = _tables(TableNames(config.connections_table, config.users_table, config.events_table))
    return Admission(
        _tokens(config),
        tables.registry,
        cache(lambda: _farewells(tables, config.farewells_queue_url)),
        lambda: tables.outbox,
        cache(lambda: _strangers(tables, config)),
        rejection_mode=config.rejection_mode,
        shards=config.audience_shards,
        lease_seconds=config.lease_seconds,
        max_connections=config.max_connections_per_user,
        policy=config.max_connections_policy,
        origins=frozenset(config.allowed_origins.split(",")) - {""},
    )


@_kept
def disconnect_registry() -> Registry:
    """Return what `disconnect` works with."""
    config = settings.load(settings.DisconnectSettings)
    return _tables(TableNames(config.connections_table, config.users_table)).registry


@_kept
def frame_handler() -> FrameHandler:
    """Return what `default` works with."""
    from realtime.default import FrameHandler
    from realtime.everyone import Everyone
    from realtime.frame_limits import make_frame_limits
    from realtime.hiding import HistoryHiding
    from realtime.inbox import Inbox
    from realtime.occupancy import make_occupancy
    from realtime.replay import Replay
    from realtime.snapshots import Snapshots
    from realtime.statuses import Statuses
    from realtime.watched_states import WatchedStates

    config = settings.load(settings.DefaultSettings)
    tables = _tables(TableNames(config.connections_table, config.users_table, config.events_table, config.blocks_table))
    farewells = cache(lambda: _farewells(tables, config.farewells_queue_url))
    return FrameHandler(
        tables,
        make_frame_limits(
            tables.rates,
            config.message_rate,
            config.message_burst,
            config.user_message_rate,
            config.count_one_frame_in,
            close=lambda connection, frame, now_ms: farewells().send_away(connection, "error", frame, now_ms),
        ),
        Snapshots(
            tables.connections,
            Everyone(tables.users, tables.outbox, tables.views, clock=time.time, pause=time.sleep),
            tables.blocks,
            feed_role=config.feed_role,
        ),
        Replay(
            tables.connections,
            tables.outbox,
            WatchedStates(tables.users, feed_role=config.feed_role, history_seconds=config.presence_history_seconds),
            HistoryHiding(tables.blocks, tables.users),
            history_seconds=config.history_seconds,
            presence_history_seconds=config.presence_history_seconds,
        ),
        {
            "status": Statuses(tables).answer,
            "count": make_occupancy(tables, config.feed_role).answer,
            "history": Inbox(tables.outbox, history_seconds=config.history_seconds).answer,
        },
        tokens=cache(lambda: _tokens(config)),
        poster=lambda: poster(config.management_endpoint, config.posts_per_second, config.events_table, "answers"),
        farewells=farewells,
        lease_seconds=config.lease_seconds,
    )


@_kept
def ingestion() -> Ingestion:
    """Return what `ingest` works with."""
    from realtime.ingest import Ingestion

    config = settings.load(settings.IngestSettings)
    return Ingestion(
        _tables(TableNames(config.connections_table, config.users_table, config.events_table, config.blocks_table)),
        _queue(config.deadlines_queue_url),
        shards=config.audience_shards,
        history_seconds=config.history_seconds,
    )


@_kept
def backend_events() -> Queue:
    """Return the queue of the backends' events."""
    return _queue(settings.load(settings.IngestSettings).backend_events_queue_url)


@_kept
def rejected() -> Queue:
    """Return the dead-letter queue of events that break their schema."""
    return _queue(settings.load(settings.IngestSettings).rejected_queue_url)


@_kept
def announcer() -> Announcer:
    """Return what `announce` works with."""
    from realtime.announce import Announcer
    from realtime.aws.bus import Bus
    from realtime.presence import Rules

    config = settings.load(settings.AnnounceSettings)
    return Announcer(
        _tables(TableNames(events=config.events_table)).outbox,
        Bus(clients.client("events"), config.event_bus),
        _queue(config.deadlines_queue_url),
        Rules(config.audience_shards, config.feed_role, config.presence_history_seconds),
        grace_seconds=config.grace_period_seconds,
        clock=time.time,
    )


@_kept
def broadcaster() -> Broadcaster:
    """Return what `broadcast` works with."""
    from realtime.broadcast import Broadcaster
    from realtime.hiding import Hiding

    config = settings.load(settings.BroadcastSettings)
    tables = _tables(TableNames(config.connections_table, config.users_table, config.events_table, config.blocks_table))
    return Broadcaster(
        tables.connections,
        Hiding(tables.blocks),
        tables.registry,
        tables.stragglers,
        tables.served,
        tables.posted,
        poster(config.management_endpoint, config.posts_per_second, config.events_table, config.reach),
        cache(lambda: _queue(config.late_queue_url)),
        failures,
        reach=config.reach,
        lateness_s=config.presence_lateness_seconds,
        clock=time.time,
    )


@_kept
def late_lane() -> LateLane:
    """Return what `late` works with."""
    from realtime.late import LateLane

    config = settings.load(settings.LateSettings)
    tables = _tables(TableNames(config.connections_table, config.users_table, config.events_table))
    management_api = poster(config.management_endpoint, config.posts_per_second, config.events_table, "late")
    return LateLane(tables.stragglers, tables.registry, management_api, _queue(config.late_queue_url))


@_kept
def failures() -> Queue:
    """Return the dead-letter queue of stream records."""
    return _queue(settings.load(settings.FailuresSettings).failures_queue_url)


@_kept
def deadlines() -> Deadlines:
    """Return what `deadlines` works with."""
    from realtime.aws.bus import Bus
    from realtime.deadlines import Deadlines

    config = settings.load(settings.DeadlinesSettings)
    tables = _tables(TableNames(users=config.users_table, events=config.events_table))
    return Deadlines(tables, Bus(clients.client("events"), config.event_bus))


@_kept
def farewell_sender() -> FarewellSender:
    """Return what `farewell` works with."""
    from realtime.farewell import FarewellSender

    config = settings.load(settings.FarewellSettings)
    return FarewellSender(
        poster(config.management_endpoint, config.posts_per_second, config.events_table, "farewell"),
        _queue(config.farewells_queue_url),
    )


@_kept
def sweeper() -> Sweeper:
    """Return what `sweep` works with."""
    from realtime.sweep import Policy, Sweeper

    config = settings.load(settings.SweepSettings)
    return Sweeper(
        _tables(TableNames(config.connections_table, config.users_table, config.events_table)),
        poster(config.management_endpoint, config.posts_per_second, config.events_table, "sweep"),
        Policy(config.lease_seconds, config.grace_period_seconds, config.call_lease_seconds),
        clock=time.monotonic,
        pause=time.sleep,
    )


@_kept
def admin() -> Admin:
    """Return what `admin` works with."""
    from realtime.admin import Admin

    config = settings.load(settings.AdminSettings)
    tables = _tables(TableNames(config.connections_table, config.users_table, config.events_table))
    return Admin(tables, feed_role=config.feed_role)


@_kept
def poster(endpoint: str, posts_per_second: int, events_table: str, purpose: Purpose) -> Poster:
    """Return the Poster of the API at this URL, which has no stage.

    `posts_per_second` is the budget of all instances of all functions.
    """
    from concurrent.futures import ThreadPoolExecutor

    from realtime.posting.api import make_poster
    from realtime.posting.shared_quota import SharedQuota
    from realtime.posting.uses import USES
    from realtime.threads import submit

    quota = SharedQuota(
        _tables(TableNames(events=events_table)).budget.claim,
        partial(submit, ThreadPoolExecutor(1)),  # it starts no thread before the first claim
        posts_per_second=posts_per_second,
        use=USES[purpose],
    )
    return make_poster(endpoint, clients.region(), clients.frozen_credentials, quota=quota)


def _tables(names: TableNames) -> Tables:
    return Tables(clients.client("dynamodb"), names)


def _queue(url: str) -> Queue:
    from realtime.aws.queues import Queue

    return Queue(clients.client("sqs"), url)


def _farewells(tables: Tables, queue_url: str) -> Farewells:
    from realtime.farewell import Farewells

    return Farewells(tables.outbox, _queue(queue_url))


def _strangers(tables: Tables, config: settings.ConnectSettings) -> Strangers:
    from realtime.strangers import make_strangers

    return make_strangers(tables.rates, config.refusal_rate, config.refusal_burst)


def _tokens(config: settings.TokenSettings) -> Tokens:
    from realtime.aws.token_keys import SharedKeys
    from realtime.tokens import PublishedKeys, Tokens

    return Tokens(
        SharedKeys(clients.client, config.token_keys) if config.token_keys else None,
        PublishedKeys(config.jwks_url) if config.jwks_url else None,
        max_seconds=config.max_token_seconds,
        issuer=config.token_issuer,
        audience=config.token_audience,
    )
