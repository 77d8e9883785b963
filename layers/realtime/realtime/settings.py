"""A function's settings, from its environment: typed and mandatory, with all complaints in one message."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from realtime.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The least value of a setting that is a whole number."""

    minimum: int


PositiveInt = Annotated[int, AtLeast(1)]
NonNegativeInt = Annotated[int, AtLeast(0)]


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """The settings for verifying tokens; each but the last may be empty."""

    token_keys: str
    jwks_url: str
    token_issuer: str
    token_audience: str
    max_token_seconds: PositiveInt


@dataclass(frozen=True, slots=True)
class ConnectSettings(TokenSettings):
    """The settings of `connect`; `refusal_rate` in refused handshakes a second from one address, times in seconds."""

    connections_table: str
    users_table: str
    events_table: str
    audience_shards: PositiveInt
    rejection_mode: Literal["frame", "handshake"]
    allowed_origins: str  # separated by commas; empty = any
    farewells_queue_url: str
    max_connections_per_user: PositiveInt
    max_connections_policy: Literal["evict", "reject"]
    lease_seconds: PositiveInt
    refusal_rate: PositiveInt
    refusal_burst: PositiveInt


@dataclass(frozen=True, slots=True)
class DisconnectSettings:
    """The settings of `disconnect`."""

    connections_table: str
    users_table: str


@dataclass(frozen=True, slots=True)
class DefaultSettings(TokenSettings):
    """The settings of `default`; `message_rate` in messages a second, `message_burst` in messages, times in seconds."""

    connections_table: str
    users_table: str
    blocks_table: str
    feed_role: str
    management_endpoint: str
    posts_per_second: PositiveInt
    events_table: str
    lease_seconds: PositiveInt
    message_rate: PositiveInt
    message_burst: PositiveInt
    user_message_rate: PositiveInt
    count_one_frame_in: PositiveInt
    history_seconds: PositiveInt
    presence_history_seconds: PositiveInt
    farewells_queue_url: str


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """The settings of `ingest`."""

    connections_table: str
    users_table: str
    blocks_table: str
    events_table: str
    audience_shards: PositiveInt
    history_seconds: PositiveInt
    backend_events_queue_url: str
    rejected_queue_url: str
    deadlines_queue_url: str


@dataclass(frozen=True, slots=True)
class AnnounceSettings:
    """The settings of `announce`."""

    events_table: str
    audience_shards: PositiveInt
    presence_history_seconds: PositiveInt
    feed_role: str
    grace_period_seconds: NonNegativeInt
    deadlines_queue_url: str
    event_bus: str
    failures_queue_url: str


@dataclass(frozen=True, slots=True)
class BroadcastSettings:
    """The settings of `broadcast`; `management_endpoint` is a URL without the stage.

    `posts_per_second` is, in this and the other functions, the budget that all instances of all functions share.
    """

    connections_table: str
    users_table: str
    blocks_table: str
    reach: Literal["narrow", "wide"]
    presence_lateness_seconds: PositiveInt
    management_endpoint: str
    posts_per_second: PositiveInt
    events_table: str
    late_queue_url: str
    failures_queue_url: str


@dataclass(frozen=True, slots=True)
class LateSettings:
    """The settings of `late`; `management_endpoint` is a URL without the stage."""

    connections_table: str
    users_table: str
    events_table: str
    management_endpoint: str
    posts_per_second: PositiveInt
    late_queue_url: str


@dataclass(frozen=True, slots=True)
class DeadlinesSettings:
    """The settings of `deadlines`."""

    users_table: str
    events_table: str
    event_bus: str


@dataclass(frozen=True, slots=True)
class FarewellSettings:
    """The settings of `farewell`; `management_endpoint` is a URL without the stage."""

    management_endpoint: str
    posts_per_second: PositiveInt
    events_table: str
    farewells_queue_url: str


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """The settings of `sweep`; times in seconds."""

    connections_table: str
    users_table: str
    events_table: str
    management_endpoint: str
    posts_per_second: PositiveInt
    lease_seconds: PositiveInt
    grace_period_seconds: NonNegativeInt
    call_lease_seconds: PositiveInt


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The settings of `admin`."""

    connections_table: str
    users_table: str
    events_table: str
    feed_role: str


@dataclass(frozen=True, slots=True)
class FailuresSettings:
    """The setting with which `announce` and `broadcast` give up a record."""

    failures_queue_url: str


OPTIONAL = frozenset({"token_keys", "jwks_url", "token_issuer", "token_audience", "allowed_origins"})  # may be empty

SettingsType = TypeVar("SettingsType")


def load(kind: type[SettingsType], environment: Mapping[str, str] = os.environ) -> SettingsType:
    """Read one function's settings from the environment variables named like its fields, in capitals.

    Raises ConfigurationError, which names every variable that is missing or has a wrong value.
    """
    types = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    complaints: list[str] = []
    for field in fields(kind):  # type: ignore[arg-type]  # every settings class is a dataclass
        variable = field.name.upper()
        text = environment.get(variable, "")
        if not text and field.name not in OPTIONAL:
            complaints.append(f"{variable} is not set")
            continue
        try:
            values[field.name] = _parse(text, types[field.name])
        except ValueError as error:
            complaints.append(f"{variable} must be {error}, not {text!r}")
    if complaints:
        raise ConfigurationError(f"{kind.__name__}: {'; '.join(complaints)}")
    return kind(**values)


def _parse(text: str, kind: Any) -> str | int:
    """Return the value of a setting.

    Raises ValueError, which says what the setting must be.
    """
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(" or ".join(get_args(kind)))
        return text
    if get_origin(kind) is Annotated:
        minimum: int = kind.__metadata__[0].minimum
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise ValueError(f"a whole number of at least {minimum}")
        return number
    return text
