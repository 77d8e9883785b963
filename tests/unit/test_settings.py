from __future__ import annotations

from dataclasses import fields

import pytest

from realtime import settings
from realtime.errors import ConfigurationError

BROADCAST = {
    "CONNECTIONS_TABLE": "Connections",
    "USERS_TABLE": "Users",
    "BLOCKS_TABLE": "Blocks",
    "REACH": "wide",
    "PRESENCE_LATENESS_SECONDS": "10",
    "MANAGEMENT_ENDPOINT": "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
    "POSTS_PER_SECOND": "5000",
    "EVENTS_TABLE": "Events",
    "LATE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/late",
    "FAILURES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/failures",
}


def test_settings_are_read_from_variables_named_like_them() -> None:
    assert settings.load(settings.BroadcastSettings, BROADCAST) == settings.BroadcastSettings(
        connections_table="Connections",
        users_table="Users",
        blocks_table="Blocks",
        reach="wide",
        presence_lateness_seconds=10,
        management_endpoint="https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
        posts_per_second=5000,
        events_table="Events",
        late_queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/late",
        failures_queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/failures",
    )


def test_other_variables_are_ignored() -> None:
    environment = {"CONNECTIONS_TABLE": "Connections", "USERS_TABLE": "Users", "PATH": "/bin"}
    assert settings.load(settings.DisconnectSettings, environment).users_table == "Users"


@pytest.mark.parametrize("variable", BROADCAST)
@pytest.mark.parametrize("absence", ["missing", "empty"])
def test_each_setting_is_mandatory(variable: str, absence: str) -> None:
    environment = {name: value for name, value in BROADCAST.items() if name != variable}
    if absence == "empty":
        environment[variable] = ""
    with pytest.raises(ConfigurationError, match=f"^BroadcastSettings: {variable} is not set$"):
        settings.load(settings.BroadcastSettings, environment)


def test_all_complaints_come_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings.load(settings.BroadcastSettings, {"POSTS_PER_SECOND": "many", "USERS_TABLE": "Users"})
    assert str(caught.value) == (
        "BroadcastSettings: CONNECTIONS_TABLE is not set; BLOCKS_TABLE is not set; REACH is not set; "
        "PRESENCE_LATENESS_SECONDS is not set; MANAGEMENT_ENDPOINT is not set; "
        "POSTS_PER_SECOND must be a whole number of at least 1, not 'many'; "
        "EVENTS_TABLE is not set; LATE_QUEUE_URL is not set; FAILURES_QUEUE_URL is not set"
    )


def test_the_settings_of_tokens_may_be_empty() -> None:
    environment = dict.fromkeys((field.name.upper() for field in fields(settings.ConnectSettings)), "1")
    environment |= {"REJECTION_MODE": "frame", "MAX_CONNECTIONS_POLICY": "evict"}
    environment |= dict.fromkeys(("JWKS_URL", "TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_KEYS"), "")
    assert settings.load(settings.ConnectSettings, environment).jwks_url == ""


def environment_of(kind: type, **values: str) -> dict[str, str]:
    """Return an environment with all settings of a function, of which these have other values."""
    chosen = {"REJECTION_MODE": "frame", "MAX_CONNECTIONS_POLICY": "evict"}
    return {**{field.name.upper(): "1" for field in fields(kind)}, **chosen, **values}


@pytest.mark.parametrize(
    ("kind", "variable", "value", "must_be"),
    [
        (settings.ConnectSettings, "REJECTION_MODE", "fame", "frame or handshake"),
        (settings.ConnectSettings, "AUDIENCE_SHARDS", "0", "a whole number of at least 1"),
        (settings.ConnectSettings, "LEASE_SECONDS", "1.5", "a whole number of at least 1"),
        (settings.SweepSettings, "GRACE_PERIOD_SECONDS", "-1", "a whole number of at least 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(kind: type, variable: str, value: str, must_be: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{kind.__name__}: {variable} must be {must_be}, not '{value}'$"):
        settings.load(kind, environment_of(kind, **{variable: value}))


def test_there_may_be_no_grace_period() -> None:
    environment = environment_of(settings.AnnounceSettings, GRACE_PERIOD_SECONDS="0")
    assert settings.load(settings.AnnounceSettings, environment).grace_period_seconds == 0
