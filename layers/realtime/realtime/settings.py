"""A function's settings: typed, mandatory, read from its environment once, all complaints in one message."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from realtime.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What who verifies tokens needs."""

    token_keys: str
    jwks_url: str
    token_issuer: str
    token_audience: str


@dataclass(frozen=True, slots=True)
class ConnectSettings(TokenSettings):
    """What `connect` needs; times in seconds."""

    connections_table: str
    users_table: str
    events_table: str
    audience_shards: int
    rejection_mode: str
    farewells_queue_url: str
    max_connections_per_user: int
    lease_seconds: int


@dataclass(frozen=True, slots=True)
class DisconnectSettings:
    """What `disconnect` needs."""

    connections_table: str
    users_table: str


@dataclass(frozen=True, slots=True)
class DefaultSettings(TokenSettings):
    """What `default` needs; `message_rate` in messages a second, `message_burst` in messages, times in seconds."""

    connections_table: str
    users_table: str
    feed_role: str
    management_endpoint: str
    posts_per_second: int
    events_table: str
    lease_seconds: int
    message_rate: int
    message_burst: int
    history_seconds: int
    presence_history_seconds: int
    farewells_queue_url: str


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """What `ingest` needs."""

    connections_table: str
    users_table: str
    events_table: str
    audience_shards: int
    history_seconds: int
    backend_events_queue_url: str
    rejected_queue_url: str
    deadlines_queue_url: str


@dataclass(frozen=True, slots=True)
class AnnounceSettings:
    """What `announce` needs."""

    events_table: str
    audience_shards: int
    presence_history_seconds: int
    feed_role: str
    grace_period_seconds: int
    deadlines_queue_url: str
    event_bus: str
    failures_queue_url: str


@dataclass(frozen=True, slots=True)
class BroadcastSettings:
    """What `broadcast` needs; `management_endpoint` is a URL without the stage."""

    connections_table: str
    users_table: str
    management_endpoint: str
    posts_per_second: int
    failures_queue_url: str


@dataclass(frozen=True, slots=True)
class DeadlinesSettings:
    """What `deadlines` needs."""

    users_table: str
    events_table: str
    event_bus: str


@dataclass(frozen=True, slots=True)
class FarewellSettings:
    """What `farewell` needs; `management_endpoint` is a URL without the stage."""

    management_endpoint: str
    posts_per_second: int
    farewells_queue_url: str


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What `sweep` needs; times in seconds."""

    connections_table: str
    users_table: str
    events_table: str
    management_endpoint: str
    posts_per_second: int
    lease_seconds: int
    grace_period_seconds: int
    call_lease_seconds: int


@dataclass(frozen=True, slots=True)
class FailuresSettings:
    """What `announce` and `broadcast` alike need to give up a record."""

    failures_queue_url: str


OPTIONAL = frozenset({"token_keys", "jwks_url", "token_issuer", "token_audience"})  # may be set to nothing

SettingsType = TypeVar("SettingsType")


def load(kind: type[SettingsType], environment: Mapping[str, str] = os.environ) -> SettingsType:
    """Read one function's settings from the environment variables named like its fields, in capitals.

    Raises ConfigurationError that names every variable which is missing or not a whole number.
    """
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    complaints: list[str] = []
    for field in fields(kind):  # type: ignore[arg-type]  # every settings class is a dataclass
        variable = field.name.upper()
        text = environment.get(variable, "")
        if not text and field.name not in OPTIONAL:
            complaints.append(f"{variable} is not set")
        elif types[field.name] is int:
            try:
                values[field.name] = int(text)
            except ValueError:
                complaints.append(f"{variable} must be a whole number, not {text!r}")
        else:
            values[field.name] = text
    if complaints:
        raise ConfigurationError(f"{kind.__name__}: {'; '.join(complaints)}")
    return kind(**values)
