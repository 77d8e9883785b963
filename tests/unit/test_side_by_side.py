"""Old and new versions of the functions work on the same tables and queues for minutes, or for days in a canary.

So each reader takes what a newer version writes (more attributes) and what an older one wrote (only what was always
there). REQUIRED is that minimum. To need another attribute takes two deployments: docs/decisions/0057.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from realtime.farewell import read_farewell
from realtime.late import read_straggler
from realtime.tables.connections import read_session
from realtime.tables.entries import read_entries
from realtime.tables.users import read_user
from tests.samples import names, sample

Image = dict[str, dict[str, Any]]


def images(function: str) -> list[Image]:
    """Return the items in the samples of a function of a stream."""
    return [
        record["dynamodb"]["NewImage"]
        for name in names(function)
        for record in sample(name)["Records"]
        if "NewImage" in record["dynamodb"]
    ]


SESSION: Image = {
    "connection_id": {"S": "a="},
    "audience": {"S": "connection/a="},
    "user_id": {"S": "123"},
    "endpoint": {"S": "feed"},
    "connected_at": {"N": "1705314600000"},
    "token_expires_at": {"N": "1705318200"},
    "lease_until": {"N": "1705315500"},
    "expires_at": {"N": "1705325400"},
    "heard_at": {"N": "1705314700"},
    "batch": {"BOOL": True},
}
CHANGE = {"subject"} | {f"{endpoint}_{part}" for endpoint in ("feed", "presence") for part in ("id", "kind", "message")}
REQUIRED = {
    "user": {"user_id"},
    "entry": {"audience", "event_id", "kind", "message", "expires_at", "reach", "endpoint", *CHANGE},
    "session": {
        *("connection_id", "user_id", "endpoint", "connected_at", "token_expires_at"),
        *("lease_until", "expires_at"),
    },
    "farewell": {"connection_id", "endpoint", "frame", "is_opening"},
    "straggler": {"connection_id", "endpoint", "connected_at_s", "frames"},
}
READERS: dict[str, Callable[[Any], Any]] = {
    "user": read_user,
    "entry": lambda image: read_entries(image, "narrow") or read_entries(image, "wide"),
    "session": read_session,
    "farewell": lambda body: read_farewell(json.dumps(body)),
    "straggler": lambda body: read_straggler(json.dumps(body)),
}


def bodies(function: str) -> list[dict[str, Any]]:
    return [json.loads(record["body"]) for name in names(function) for record in sample(name)["Records"]]


WRITTEN: list[tuple[str, dict[str, Any]]] = [
    *(("user", image) for image in images("announce")),
    *(("entry", image) for image in images("broadcast")),
    ("session", SESSION),
    *(("farewell", body) for body in bodies("farewell")),
    *(("straggler", body) for body in bodies("late")),
]


@pytest.mark.parametrize(("kind", "written"), WRITTEN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_newer_version_writes_besides_is_left_out(kind: str, written: dict[str, Any]) -> None:
    more = {"SS": ["a", "b"]} if kind in ("user", "entry", "session") else ["a", {"b": 1}]
    assert READERS[kind]({**written, "added_later": more}) == READERS[kind](written)


@pytest.mark.parametrize(("kind", "written"), WRITTEN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_an_older_version_wrote_is_read(kind: str, written: dict[str, Any]) -> None:
    least = {name: value for name, value in written.items() if name in REQUIRED[kind]}
    assert READERS[kind](least)
