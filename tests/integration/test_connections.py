"""The Connections table: sessions, subscriptions, and their pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from realtime.audiences import stage_of
from realtime.errors import ConfigurationError
from realtime.messages import ENDPOINTS
from realtime.tables.connections import CONNECTION_TTL_SECONDS, Connection, Connections, Session, Subscriber
from realtime.tables.session_scan import SessionScan, SweepWindow
from realtime.tables.subscriptions import Subscriptions
from realtime.tables.transactions import Transaction
from realtime.tables.watched import Watched
from realtime.watch_state import WatchState, make_revision
from tests.support.cloud import Cloud
from tests.unit.fakes import as_client

NOW = 1_705_314_600
ONE = Connection(
    "one=", "feed", "123", NOW * 1000 + 5, NOW + 3600, types=frozenset({"listener_online", "listener_busy"}), batch=True
)
TWO = Connection("two=", "feed", "789", NOW * 1000, NOW + 7200)


class SmallPages:
    """DynamoDB with pages of a few items: AWS limits them by size, this one by count."""

    def __init__(self, client: Any, page: int) -> None:
        self._client = client
        self._page = page
        self.pages = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def __len__(self) -> int:
        return self.pages

    def query(self, **request: Any) -> Any:
        self.pages += 1
        return self._client.query(**request, Limit=self._page)

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> Any:  # noqa: N803  # AWS's name
        self.pages += 1
        ((table, request),) = RequestItems.items()
        now, later = request["Keys"][: self._page], request["Keys"][self._page :]
        answer = self._client.batch_get_item(RequestItems={table: {**request, "Keys": now}})
        return {**answer, "UnprocessedKeys": {table: {**request, "Keys": later}} if later else {}}


@pytest.fixture
def connections(cloud: Cloud) -> Connections:
    return Connections(cloud.dynamodb, "ConnectionsTable")


def store(cloud: Cloud, connections: Connections, connection: Connection, *audiences: str) -> None:
    writes = connections.registration_writes(connection, audiences, NOW + 900)
    Transaction(cloud.dynamodb).add(*writes).commit("a test")
    connections.subscribe_rest(connection, audiences)


def test_a_session_is_read_as_it_was_stored(cloud: Cloud, connections: Connections) -> None:
    store(cloud, connections, ONE, "feed/*/0")
    assert connections.session("one=") == Session(ONE, lease_until_s=NOW + 900, full_at_ms=0)
    assert connections.session("never there") is None


def test_a_session_of_this_very_moment_is_read_again_consistently(cloud: Cloud) -> None:
    class Lagging:
        def __init__(self) -> None:
            self.reads: list[bool] = []

        def get_item(self, **request: Any) -> Any:
            self.reads.append(request["ConsistentRead"])
            return cloud.dynamodb.get_item(**request) if request["ConsistentRead"] else {}

    client: Any = Lagging()
    connections = Connections(client, "ConnectionsTable")
    store(cloud, connections, TWO)
    assert connections.session("two=") is not None
    assert client.reads == [False, True]


def test_subscribers_are_read_with_all_that_posting_needs(cloud: Cloud, connections: Connections) -> None:
    store(cloud, connections, ONE, "feed/*/0")
    store(cloud, connections, TWO, "feed/*/0", "feed/7")
    found = [each for page in connections.subscribers("feed/*/0", NOW) for each in page]
    assert found == [
        Subscriber("one=", "123", NOW * 1000 + 5, ONE.types, batch=True),
        Subscriber("two=", "789", NOW * 1000, frozenset(), batch=False),
    ]
    assert [page for page in connections.subscribers("feed/*/1", NOW) if page] == []


def test_the_index_holds_subscriptions_and_neither_sessions_nor_watched_users(
    cloud: Cloud, connections: Connections
) -> None:
    store(cloud, connections, ONE, "notifications/*/0", "notifications/123", "feed/7")
    connections.subscribe(ONE, ["feed/8"])
    indexed = cloud.dynamodb.scan(TableName="ConnectionsTable", IndexName="AudienceIndex")["Items"]
    assert {row["audience"]["S"] for row in indexed} == {"notifications/*/0", "notifications/123"}
    keys = {(row["connection_id"], row["audience"]) for row in cloud.rows("Connections")}
    own = {"connection/one=", "notifications/*/0", "notifications/123", "watched"}
    assert keys == {*(("one=", audience) for audience in own), ("watched/7", "one="), ("watched/8", "one=")}


@pytest.mark.parametrize(
    ("audiences", "of_another_stage"),
    [(("calls/123", "live/123"), "notifications"), (("presence/123", "watched/123", "feed/123"), None)],
)
def test_one_read_finds_the_subscribers_of_all_audiences_about_a_user(
    cloud: Cloud, connections: Connections, audiences: Sequence[str], of_another_stage: str | None
) -> None:
    for audience in audiences:
        stage = stage_of(audience)
        endpoints = frozenset(ENDPOINTS) if stage == "live" else frozenset()
        made = Connection(f"{stage}=", stage, "123", NOW * 1000, NOW + 3600, chosen=endpoints)
        store(cloud, connections, made, audience)
    if of_another_stage:
        other = Connection("other=", of_another_stage, "123", NOW * 1000, NOW + 3600)
        store(cloud, connections, other, f"{of_another_stage}/123")
    reads: list[str] = []
    cloud.dynamodb.meta.events.register("before-call.dynamodb", lambda model, **_: reads.append(model.name))
    found = connections.about_user(audiences, NOW)
    assert {name: [each.connection_id for each in of_name] for name, of_name in found.items()} == {
        audience: [f"{stage_of(audience)}="] for audience in audiences
    }
    assert reads == ["Query"]


def test_who_watches_a_user_is_read_as_of_now(cloud: Cloud, connections: Connections) -> None:
    asked: list[dict[str, Any]] = []
    cloud.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query", lambda params, **_: asked.append(dict(params))
    )
    store(cloud, connections, ONE, "feed/7")
    (found,) = connections.about_user(["feed/7"], NOW)["feed/7"]
    assert found.connection_id == "one="
    connections.wait_until_indexed(["feed/7"], "one=")  # which asks for nothing
    (query,) = asked
    assert query["ConsistentRead"] is True
    assert "IndexName" not in query


def test_the_index_is_waited_for_beside_watched_users(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def is_indexed(_: Connections, audience: str, _connection_id: str) -> bool:
        asked.append(audience)
        return True

    monkeypatch.setattr(Connections, "is_indexed", is_indexed)
    connections.wait_until_indexed(["feed/7", "calls/123", "feed/8", "notifications/123"], "one=")
    assert asked == ["calls/123", "notifications/123"]


def test_an_audience_of_several_pages_is_read_to_its_end(cloud: Cloud, connections: Connections) -> None:
    for n in range(7):
        store(cloud, connections, Connection(f"{n}=", "feed", "123", NOW * 1000, NOW), "feed/*/0")
    small_pages: Any = SmallPages(cloud.dynamodb, 3)
    pages = list(Connections(small_pages, "ConnectionsTable").subscribers("feed/*/0", NOW))
    assert [len(page) for page in pages] == [3, 3, 1]
    assert {each.connection_id for page in pages for each in page} == {f"{n}=" for n in range(7)}


def test_a_connection_past_its_time_is_no_subscriber_though_still_stored(
    cloud: Cloud, connections: Connections
) -> None:
    store(cloud, connections, TWO, "feed/*/0")
    end = NOW + CONNECTION_TTL_SECONDS
    assert [len(page) for page in connections.subscribers("feed/*/0", end - 1)] == [1]
    assert [len(page) for page in connections.subscribers("feed/*/0", end)] == [0]


def test_all_audiences_of_a_connection_are_found_over_several_pages(cloud: Cloud, connections: Connections) -> None:
    audiences = [f"feed/*/{n}" for n in range(8)]
    store(cloud, connections, ONE, *audiences)
    small_pages: Any = SmallPages(cloud.dynamodb, 3)
    found = Connections(small_pages, "ConnectionsTable").subscriptions("one=")
    assert (found.user_id, set(found.audiences)) == ("123", {*audiences, "connection/one="})
    assert found.stored == found.audiences
    assert len(small_pages) >= 3
    assert connections.subscriptions("two=") == Subscriptions(None, [], [])


def test_of_a_connection_that_watches_all_that_may_be_stored_is_found(cloud: Cloud, connections: Connections) -> None:
    store(cloud, connections, ONE, "feed/7", "feed/8")
    watched = Watched(cloud.dynamodb, "ConnectionsTable")
    state, version = watched.read("one=")
    assert state == WatchState(settled=frozenset("78"))
    changed = state.changed(make_revision(NOW * 1000, "AAAA"), ["8"], watch=False, now_ms=NOW * 1000)
    assert watched.write(ONE, changed, version)
    found = connections.subscriptions("one=")
    assert found == Subscriptions(
        "123", ["connection/one=", "feed/7"], ["connection/one=", "feed/7", "feed/8", "watched"]
    )
    connections.delete([("one=", "connection/one="), ("one=", "feed/7")])
    assert connections.subscriptions("one=") == Subscriptions("123", ["feed/7"], ["feed/7", "feed/8", "watched"])


def test_many_sessions_are_read_together_over_several_batches(cloud: Cloud, connections: Connections) -> None:
    for n in range(7):
        store(cloud, connections, Connection(f"{n}=", "feed", "123", NOW * 1000, NOW))
    small_pages: Any = SmallPages(cloud.dynamodb, 3)
    wanted = [f"{n}=" for n in range(9)]
    found = Connections(small_pages, "ConnectionsTable").sessions(wanted)
    assert {each.connection.connection_id for each in found} == {f"{n}=" for n in range(7)}
    assert connections.sessions([]) == []


def test_more_sessions_than_a_batch_holds_are_read(cloud: Cloud, connections: Connections) -> None:
    for n in range(3):
        store(cloud, connections, Connection(f"{n}=", "feed", "123", NOW * 1000, NOW))
    assert len(connections.sessions([f"{n}=" for n in reversed(range(250))])) == 3


def test_a_lease_is_renewed(cloud: Cloud, connections: Connections) -> None:
    store(cloud, connections, ONE)
    connections.renew_lease("one=", NOW + 1800)
    assert connections.session("one=") == Session(ONE, lease_until_s=NOW + 1800)


def test_a_connection_that_was_forgotten_does_not_come_back_as_a_ghost(cloud: Cloud, connections: Connections) -> None:
    connections.renew_lease("one=", NOW + 1800)
    connections.note_left(ONE, [])
    connections.note_left(ONE, ["live-notifications/*/0"])
    assert cloud.rows("Connections") == []


def test_a_session_notes_that_its_connection_left_everyone(cloud: Cloud, connections: Connections) -> None:
    one = replace(ONE, types=frozenset())
    store(cloud, connections, one, "feed/*/0")
    before = connections.session("one=")
    assert before is not None
    assert before.wide == "feed/*/0"
    connections.note_left(one, [])
    assert connections.session("one=") == replace(
        before, wide=None, connection=replace(before.connection, has_left_everyone=True)
    )


def test_a_connection_subscribes_and_unsubscribes(cloud: Cloud, connections: Connections) -> None:
    store(cloud, connections, ONE, "feed/*/0")
    connections.subscribe(ONE, ["feed/*/7", "feed/*/8", "feed/7", "feed/8"])
    connections.delete(("one=", audience) for audience in ("feed/*/0", "feed/*/8", "feed/8", "feed/*/9", "feed/9"))
    assert cloud.audiences_of("one=") == {"connection/one=", "feed/*/7", "feed/7"}
    assert connections.is_indexed("feed/*/7", "one=")
    assert not connections.is_indexed("feed/*/8", "one=")
    assert not connections.is_indexed("feed/*/7", "two=")


def test_a_later_subscription_holds_as_much_as_an_initial_one(cloud: Cloud, connections: Connections) -> None:
    store(cloud, connections, ONE, "feed/6")
    connections.subscribe(ONE, ["feed/7"])
    ((before,), (after,)) = (connections.about_user([each], NOW)[each] for each in ("feed/6", "feed/7"))
    assert before == after


NOTHING = SweepWindow(lease_before_s=0, token_before_s=0, connected_from_ms=0, connected_to_ms=0)


@pytest.mark.parametrize(
    ("window", "found"),
    [
        (NOTHING, []),
        (replace(NOTHING, lease_before_s=NOW + 900), []),
        (replace(NOTHING, lease_before_s=NOW + 901), [ONE]),
        (replace(NOTHING, token_before_s=ONE.token_expires_at_s + 1), [ONE]),
        (replace(NOTHING, token_before_s=TWO.token_expires_at_s + 1), [ONE, TWO]),
        (replace(NOTHING, token_before_s=ONE.token_expires_at_s), []),
        (replace(NOTHING, connected_from_ms=TWO.connected_at_ms, connected_to_ms=ONE.connected_at_ms), [ONE, TWO]),
        (replace(NOTHING, connected_from_ms=TWO.connected_at_ms + 1, connected_to_ms=ONE.connected_at_ms), [ONE]),
        (replace(NOTHING, connected_from_ms=ONE.connected_at_ms + 1, connected_to_ms=ONE.connected_at_ms + 9), []),
    ],
)
def test_a_scan_finds_the_sessions_to_check_and_no_others(
    cloud: Cloud, connections: Connections, window: SweepWindow, found: list[Connection]
) -> None:
    store(cloud, connections, ONE, "feed/*/0")
    store(cloud, connections, TWO, "feed/7")
    connections.renew_lease("two=", NOW + 1800)
    scan = SessionScan(cloud.dynamodb, "ConnectionsTable", "EventsTable")
    sessions, after = scan.sessions_to_check(0, 1, window, None)
    assert sorted((each.connection for each in sessions), key=lambda each: each.connection_id) == found
    assert after is None
    assert all(window.has_lapsed(each) or window.has_expired(each) or window.is_old(each) for each in sessions)


LAPSED = replace(NOTHING, lease_before_s=NOW + 901)
THREE = Connection("three=", "feed", "7", NOW * 1000 + 9, NOW + 7200)


def suspects(cloud: Cloud, window: SweepWindow) -> set[str]:
    sessions, _ = SessionScan(cloud.dynamodb, "ConnectionsTable", "EventsTable").sessions_to_check(0, 1, window, None)
    return {each.connection.connection_id for each in sessions}


def test_where_the_silent_are_not_asked_about_only_a_heartbeat_that_stopped_makes_a_suspect(
    cloud: Cloud, connections: Connections
) -> None:
    store(cloud, connections, TWO, "feed/*/0")
    store(cloud, connections, THREE, "feed/*/0")
    connections.renew_lease("three=", NOW + 900, has_heartbeat=True)
    assert suspects(cloud, LAPSED) == {"two=", "three="}
    assert suspects(cloud, replace(LAPSED, silent=False)) == {"three="}
    assert suspects(cloud, replace(LAPSED, silent=False, heard=["feed/*/0"], heard_to_ms=NOW * 2000)) == {"three="}


@pytest.mark.parametrize(
    ("heard", "from_ms", "to_ms", "found"),
    [
        (["feed/*/0", "feed/*/1"], 0, NOW * 2000, set()),
        (["feed/*/1", "feed/*/0"], TWO.connected_at_ms, THREE.connected_at_ms, set()),
        (["feed/*/0"], 0, NOW * 2000, {"three="}),
        (["feed/*/0", "feed/*/2"], 0, NOW * 2000, {"three="}),
        (["feed/*/0", "feed/*/1"], TWO.connected_at_ms + 1, NOW * 2000, {"two="}),
        (["feed/*/0", "feed/*/1"], 0, THREE.connected_at_ms - 1, {"three="}),
    ],
)
def test_a_silent_session_that_hears_a_busy_audience_since_it_is_one_is_no_suspect(
    cloud: Cloud, connections: Connections, heard: list[str], from_ms: int, to_ms: int, found: set[str]
) -> None:
    store(cloud, connections, TWO, "feed/*/0")
    store(cloud, connections, THREE, "feed/*/1")
    assert suspects(cloud, replace(LAPSED, heard=heard, heard_from_ms=from_ms, heard_to_ms=to_ms)) == found


def test_a_heartbeat_that_stopped_makes_a_suspect_whatever_it_hears(cloud: Cloud, connections: Connections) -> None:
    store(cloud, connections, TWO, "feed/*/0")
    connections.renew_lease("two=", NOW + 900, has_heartbeat=True)
    assert suspects(cloud, replace(LAPSED, heard=["feed/*/0"], heard_to_ms=NOW * 2000)) == {"two="}


def test_a_scan_reads_its_own_segment_and_goes_on_after_the_last_page() -> None:
    """moto knows no segments."""

    class OnePage:
        def scan(self, **request: Any) -> Any:
            asked.append({key: request.get(key) for key in ("Segment", "TotalSegments", "ExclusiveStartKey")})
            return {"Items": [], "LastEvaluatedKey": {"connection_id": {"S": "two="}}}

    asked: list[dict[str, Any]] = []
    scan = SessionScan(as_client(OnePage()), "ConnectionsTable", "EventsTable")
    _, after = scan.sessions_to_check(2, 8, NOTHING, None)
    scan.sessions_to_check(3, 8, NOTHING, after)
    assert after == {"connection_id": "two="}
    assert asked == [
        {"Segment": 2, "TotalSegments": 8, "ExclusiveStartKey": None},
        {"Segment": 3, "TotalSegments": 8, "ExclusiveStartKey": {"connection_id": {"S": "two="}}},
    ]


def test_a_missing_table_is_a_configuration_error(cloud: Cloud) -> None:
    connections = Connections(cloud.dynamodb, "Nowhere")
    with pytest.raises(ConfigurationError, match="reading a connection"):
        connections.session("one=")
    with pytest.raises(ConfigurationError, match="reading an audience"):
        list(connections.subscribers("feed/*/0", NOW))
    with pytest.raises(ConfigurationError, match="updating a connection"):
        connections.renew_lease("one=", NOW)


def test_a_lease_or_a_token_that_ends_this_second_is_still_good() -> None:
    session = Session(ONE, lease_until_s=NOW + 900, full_at_ms=0)
    window = replace(NOTHING, lease_before_s=NOW + 900, token_before_s=ONE.token_expires_at_s)
    assert not window.has_lapsed(session)
    assert not window.has_expired(session)
    later = replace(NOTHING, lease_before_s=NOW + 901, token_before_s=ONE.token_expires_at_s + 1)
    assert later.has_lapsed(session)
    assert later.has_expired(session)
