"""Any input of any trigger: no exception leaves a client's function, and a backend's event is recorded or rejected.

The parts of an event that AWS itself generates (ids of connections, times, sequence numbers) have AWS's form; all other
parts are arbitrary.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.backend_events import EVENT_TYPES
from realtime.text import is_unstorable
from tests.samples import KEY_ID, SECRET, backend_event, names, queued, sample
from tests.support import contract
from tests.support.cloud import STORY_BEGINS, Cloud

EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DONE: dict[str, Any] = {"batchItemFailures": []}
pytestmark = pytest.mark.usefixtures("jwt_clock")

TEXT = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=6),  # lone surrogates too
    st.sampled_from(["\ud800", "\udfff", "\ufffe", "\uffff", "\x00", "\x85", "*", "*/0", "a/b", "", "123", "x" * 300]),
)
NUMBER = st.integers() | st.floats() | st.sampled_from([10**30, 2**70, -1, 123.0, 1e300])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
RAW = st.sampled_from(["[" * 2000, '{"a":' * 2000, "9" * 5000, "", "null", "\ud800", '"\ufffe"']) | TEXT


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names) | TEXT, JSON | st.lists(JSON, max_size=3), max_size=6)


@EXAMPLES
@given(
    claims=fields("sub", "username", "role", "scope", "exp", "nbf", "iss", "aud"),
    query=st.dictionaries(st.sampled_from(["watch", "types", "batch"]), TEXT, max_size=3),
    token=st.none() | TEXT,
    mode=st.sampled_from(["frame", "handshake"]),
)
def test_connect_answers_any_handshake(
    cloud: Cloud, claims: dict[str, Any], query: dict[str, str], token: str | None, mode: str
) -> None:
    payload = {"sub": "123", "exp": STORY_BEGINS + 3600, **claims}
    if token is None:
        token = jwt.PyJWS().encode(json.dumps(payload).encode(), SECRET, algorithm="HS256", headers={"kid": KEY_ID})
    event = sample("connect.token-in-query")
    event["queryStringParameters"] = {**query, "token": token}
    assert cloud.function("connect", RejectionMode=mode)(event)["statusCode"] in {200, 400, 401, 403, 429}
    for user in cloud.rows("Users"):
        assert not any(
            is_unstorable(text) for text in (user["user_id"], user.get("username", ""), user.get("role", ""))
        )


FRAMES = st.one_of(
    RAW,
    JSON.map(json.dumps),
    st.builds(
        lambda kind, data: json.dumps({"type": kind, "data": data}),
        st.sampled_from(
            ["ping", "sync", "watch", "unwatch", "resume", "ack", "authenticate", "status", "count", "history"]
        )
        | JSON,
        fields("user_ids", "last_id", "id", "token", "status", "before", "after", "limit") | JSON,
    ),
)


@EXAMPLES
@given(body=FRAMES, name=st.sampled_from(["connect.token-in-query", "connect.watching"]))
def test_default_answers_any_frame_without_an_internal_error(cloud: Cloud, body: str, name: str) -> None:
    cloud.function("connect")(sample(name))
    event = sample("default.ping")
    event["requestContext"] |= {
        key: value
        for key, value in sample(name)["requestContext"].items()
        if key in {"connectionId", "stage", "connectedAt"}
    }
    answer = cloud.function("default", MessageRate=1000, MessageBurst=1000)({**event, "body": body})
    frame = json.loads(answer["body"])
    answers = {"pong", "snapshot", "resumed", "authenticated", "acknowledged", "occupancy", "history_page", "error"}
    assert frame["type"] in answers
    assert frame["data"].get("code") != "INTERNAL"
    assert not is_unstorable(answer["body"])


@EXAMPLES
@given(
    request=st.builds(
        lambda action, keys: {**keys, "action": action},
        st.sampled_from(["who", "connections", "disconnect", "counts"]) | JSON,
        fields("user_ids", "user_id", "connection_id", "reason", "revoke"),
    )
    | JSON
)
def test_admin_answers_any_request(cloud: Cloud, request: Any) -> None:
    answer = cloud.function("admin")(request)
    contract.validator("admin-answer").validate(answer)
    assert answer.get("error", {}).get("code") in {None, "BAD_REQUEST"}


def told_or_rejected(cloud: Cloud, body: str) -> None:
    before = {(row["audience"], row["event_id"]) for row in cloud.rows("Events")}
    assert cloud.function("ingest")(queued(body)) == DONE
    rejected = cloud.messages("RejectedEvents")
    after = {(row["audience"], row["event_id"]) for row in cloud.rows("Events")}
    assert bool(after - before) != bool(rejected) or "ran out" in str(rejected)
    for message in rejected:
        assert message["MessageAttributes"]["reason"]["StringValue"]
        cloud.sqs.delete_message(
            QueueUrl=cloud.stack.physical["RejectedEventsQueue"], ReceiptHandle=message["ReceiptHandle"]
        )


NUMBERS = iter(range(10**9))  # each event has its own id


@EXAMPLES
@given(
    kind=st.sampled_from(sorted(EVENT_TYPES)),
    detail=fields(
        "call_id", "user_id", "listener_id", "call_type", "status", "username", "action", "is_busy", "delivery", "more"
    ),
    delivery=st.none() | fields("to", "expires_in", "ack_within"),
    whole=st.booleans(),
    envelope=fields("id", "time", "detail-type", "detail", "source") | st.just({}),
)
def test_ingest_records_or_rejects_any_event(
    cloud: Cloud, kind: str, detail: dict[str, Any], delivery: dict[str, Any] | None, whole: bool, envelope: Any
) -> None:
    event = backend_event(kind)
    event["id"] = f"event-{next(NUMBERS)}"
    event["detail"] = {**(event["detail"] if whole else {}), **detail}
    if delivery is not None:
        event["detail"]["delivery"] = delivery
    told_or_rejected(cloud, json.dumps({**event, **envelope}))


@EXAMPLES
@given(body=RAW.filter(bool) | JSON.map(json.dumps))
def test_ingest_rejects_any_text_that_is_no_event(cloud: Cloud, body: str) -> None:
    told_or_rejected(cloud, body)


VALUES = st.one_of(
    st.builds(lambda text: {"S": text}, TEXT),
    st.builds(lambda text: {"N": text}, st.integers().map(str) | TEXT | st.just(str(10**17))),
    st.builds(lambda texts: {"SS": texts}, st.lists(TEXT, min_size=1, max_size=3)),
    st.builds(lambda value: {"BOOL": value}, st.booleans()),
    st.just({"NULL": True}),
    st.just({}),
)


def altered(record: dict[str, Any], image: dict[str, Any], missing: set[str]) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    changed["dynamodb"].setdefault("NewImage", {}).update(image)
    for name in missing:
        changed["dynamodb"]["NewImage"].pop(name, None)
    return changed


USER = [
    "user_id",
    "username",
    "role",
    "connection_ids",
    "is_online",
    "last_seen",
    "version",
    "changed_at",
    "hidden_from",
    "listed_blocks",
    "shown_to",
]


@pytest.mark.unpromised
@EXAMPLES
@given(
    name=st.sampled_from(names("announce")),
    image=st.dictionaries(st.sampled_from(USER), VALUES, max_size=4),
    missing=st.sets(st.sampled_from(USER), max_size=3),
)
def test_announce_handles_the_other_records_beside_any_image(
    cloud: Cloud, name: str, image: dict[str, Any], missing: set[str]
) -> None:
    made_up = altered(sample(name)["Records"][0], image, missing)
    (good,) = json.loads(json.dumps(sample("announce.came-online")).replace('"123"', '"good"'))["Records"]
    assert cloud.function("announce")({"Records": [made_up, good]}) == DONE
    assert "good" in {row.get("subject") for row in cloud.rows("Events")}


EVENT = ["audience", "event_id", "kind", "message", "expires_at", "endpoint", "connected_at", "not_after", "subject"]
HIDING = ["hidden_from", "listed_blocks", "shown_to"]
CHANGE = ["reach", *(f"{endpoint}_{part}" for endpoint in ("feed", "presence") for part in ("id", "kind", "message"))]


@EXAMPLES
@given(
    function=st.sampled_from(["broadcast", "broadcast-wide"]),
    name=st.sampled_from(names("broadcast")),
    image=st.dictionaries(
        st.sampled_from([*EVENT, *CHANGE, "hidden_from", "listed_blocks", "shown_to", "close"]), VALUES, max_size=4
    ),
    missing=st.sets(st.sampled_from([*EVENT, *CHANGE]), max_size=3),
)
def test_broadcast_handles_the_other_records_beside_any_image(
    cloud: Cloud, function: str, name: str, image: dict[str, Any], missing: set[str]
) -> None:
    cloud.function("connect")(sample("connect.token-in-header"))
    made_up = altered(sample(name)["Records"][0], image, missing)
    records = [made_up, *sample("broadcast.personal")["Records"]]
    before, broadcast = len(cloud.poster), cloud.function(function)
    if failures := broadcast({"Records": records})["batchItemFailures"]:  # if no table accepts its audience
        assert failures == [{"itemIdentifier": records[1]["dynamodb"]["SequenceNumber"]}]
        assert broadcast({"Records": records[1:]}) == DONE
    assert len(cloud.poster) > before


@EXAMPLES
@given(order=fields("check", "user_id", "left_at", "event_id", "endpoint", "user_ids", "reason") | JSON, raw=RAW)
def test_deadlines_handles_the_other_checks_beside_any_order(cloud: Cloud, order: object, raw: str) -> None:
    (record,) = sample("deadlines.offline")["Records"]
    bodies = [json.dumps(order), raw, record["body"]]
    records = [{**record, "messageId": str(number), "body": body} for number, body in enumerate(bodies)]
    failed = cloud.function("deadlines")({"Records": records})["batchItemFailures"]
    assert {"itemIdentifier": "2"} not in failed
