"""The Users table: its conditions, and the users that it returns."""

from __future__ import annotations

from typing import Any, cast

import pytest
from botocore.exceptions import ReadTimeoutError

from realtime.errors import ConfigurationError, Unavailable
from realtime.tables.dynamodb import Cursor
from realtime.tables.membership import ONLINE_SHARDS, Newcomer, online_shard
from realtime.tables.transactions import Transaction, Write
from realtime.tables.users import Users, read_user
from tests.support.cloud import Cloud
from tests.unit.fakes import as_client

NOW = 1_705_314_600_400


@pytest.fixture
def users(cloud: Cloud) -> Users:
    return Users(cloud.dynamodb, "UsersTable")


def commit(cloud: Cloud, write: Write) -> None:
    Transaction(cloud.dynamodb).add(write).commit("a test")


def join(cloud: Cloud, users: Users, connection_id: str, user_id: str = "123", now_ms: int = NOW) -> None:
    commit(cloud, users.join_write(Newcomer(user_id, connection_id, NOW // 1000, "jane", "listener"), now_ms, limit=9))


def test_a_user_who_has_never_connected_is_unknown(users: Users) -> None:
    assert users.get("123") is None


def test_a_user_is_read_as_stored(cloud: Cloud, users: Users) -> None:
    join(cloud, users, "one")
    user = users.get("123")
    assert user is not None
    assert (user.user_id, user.username, user.role) == ("123", "jane", "listener")
    assert (user.is_online, user.is_busy, user.version) == (True, False, 1)
    assert (user.last_seen_ms, user.changed_at_ms, user.left_at_ms) == (NOW, NOW, 0)
    assert user.connection_ids == {"one"}


def test_a_user_without_a_stored_state_is_offline_and_available() -> None:
    user = read_user({"user_id": {"S": "123"}})
    assert (user.is_online, user.is_busy, user.connection_ids, user.version) == (False, False, frozenset(), 0)


def test_leaving_twice_changes_nothing_the_second_time(cloud: Cloud, users: Users) -> None:
    join(cloud, users, "one")
    users.leave("123", "one", NOW + 1)
    before = cloud.user()
    users.leave("123", "one", NOW + 9)
    assert cloud.user() == before
    assert before["left_at"] == NOW + 1


def test_leaving_with_a_connection_that_is_not_the_users_changes_nothing(cloud: Cloud, users: Users) -> None:
    join(cloud, users, "one")
    before = cloud.user()
    users.leave("123", "two", NOW + 1)
    users.leave("789", "one", NOW + 1)
    assert cloud.rows("Users") == [before]


def test_leaving_changes_nothing_that_others_see(cloud: Cloud, users: Users) -> None:
    join(cloud, users, "one")
    users.leave("123", "one", NOW + 1)
    assert (cloud.user()["version"], cloud.user()["changed_at"]) == (1, NOW)


def test_a_user_who_left_is_set_offline_once(cloud: Cloud, users: Users) -> None:
    join(cloud, users, "one")
    users.leave("123", "one", NOW + 1)
    assert users.set_offline("123", NOW + 1, NOW + 11)
    assert not users.set_offline("123", NOW + 1, NOW + 12)
    assert (cloud.user()["version"], cloud.user()["changed_at"]) == (2, NOW + 11)


@pytest.mark.parametrize("left_at_ms", [NOW, NOW + 2])
def test_a_user_who_left_at_another_time_is_not_set_offline(cloud: Cloud, users: Users, left_at_ms: int) -> None:
    join(cloud, users, "one")
    users.leave("123", "one", NOW + 1)
    assert not users.set_offline("123", left_at_ms, NOW + 11)
    assert cloud.user()["is_online"] is True


def test_a_user_who_came_back_is_not_set_offline(cloud: Cloud, users: Users) -> None:
    join(cloud, users, "one")
    users.leave("123", "one", NOW + 1)
    join(cloud, users, "two", now_ms=NOW + 5)
    assert not users.set_offline("123", NOW + 1, NOW + 11)
    assert cloud.user()["is_online"] is True


def test_an_unknown_user_is_not_set_offline(cloud: Cloud, users: Users) -> None:
    assert not users.set_offline("123", 0, NOW)
    assert cloud.rows("Users") == []


def test_a_call_that_starts_or_ends_twice_counts_once(cloud: Cloud, users: Users) -> None:
    for ongoing in (True, True):
        commit(cloud, users.call_write("123", "456", NOW, ongoing=ongoing))
    assert cloud.user()["busy_calls"] == {"456"}
    for ongoing in (False, False):
        commit(cloud, users.call_write("123", "456", NOW, ongoing=ongoing))
    user = users.get("123")
    assert user is not None
    assert not user.is_busy


@pytest.mark.parametrize(
    ("in_a_call", "by_hand", "is_busy"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_a_user_is_busy_in_a_call_or_by_their_own_setting(
    cloud: Cloud, users: Users, in_a_call: bool, by_hand: bool, is_busy: bool
) -> None:
    commit(cloud, users.call_write("123", "456", NOW, ongoing=in_a_call))
    commit(cloud, users.busy_write("123", NOW, busy=by_hand))
    user = users.get("123")
    assert user is not None
    assert user.is_busy is is_busy


def test_a_user_blocks_several_users_and_unblocks_some(cloud: Cloud, users: Users) -> None:
    commit(cloud, users.block_write("123", frozenset({"1", "2", "3"}), NOW, blocked=True))
    commit(cloud, users.block_write("123", frozenset({"2", "9"}), NOW, blocked=False))
    assert cloud.user()["hidden_from"] == {"1", "3"}


def test_every_change_that_others_may_see_raises_the_version(cloud: Cloud, users: Users) -> None:
    writes = [
        users.join_write(Newcomer("123", "one", NOW // 1000), NOW, limit=1),
        users.call_write("123", "456", NOW, ongoing=True),
        users.busy_write("123", NOW, busy=True),
        users.block_write("123", frozenset({"1"}), NOW, blocked=True),
        users.call_write("123", "456", NOW, ongoing=False),
    ]
    for version, write in enumerate(writes, start=1):
        commit(cloud, write)
        assert cloud.user()["version"] == version


def test_online_users_are_found_in_all_shards(cloud: Cloud, users: Users) -> None:
    people = {f"user-{n}" for n in range(40)}
    assert len({online_shard(each) for each in people}) == ONLINE_SHARDS
    for each in people:
        join(cloud, users, f"connection of {each}", each)
    assert {user.user_id for user in users.online()} == people
    users.leave("user-7", "connection of user-7", NOW + 1)
    users.set_offline("user-7", NOW + 1, NOW + 2)
    assert {user.user_id for user in users.online()} == people - {"user-7"}


def test_users_who_are_online_wrongly_are_found_in_all_shards_over_all_pages(cloud: Cloud, users: Users) -> None:
    class SmallPages:
        def query(self, **request: Any) -> Any:
            return cloud.dynamodb.query(**request, Limit=2)

    people = [f"user-{n}" for n in range(24)]
    for each in people:
        join(cloud, users, f"connection of {each}", each)
    gone, old, new = people[:8], people[8:16], people[16:]
    for each in gone:
        users.leave(each, f"connection of {each}", NOW + 5)
    for each in new:
        join(cloud, users, f"another of {each}", each, NOW + 9)
    reading, found = Users(as_client(SmallPages()), "UsersTable"), list[str]()
    cursor: Cursor = None
    for _ in range(100):
        page, cursor = reading.stranded(cursor, left_before_ms=NOW + 6, seen_before_ms=NOW + 1)
        found += [user.user_id for user in page]
        if cursor is None:
            break
    assert sorted(found) == sorted(gone + old)
    assert cursor is None


@pytest.mark.parametrize(
    ("left_before_ms", "seen_before_ms", "found"),
    [(NOW + 5, NOW, []), (NOW + 6, NOW, ["1"]), (NOW + 5, NOW + 1, ["2"])],
)
def test_a_user_is_online_wrongly_only_after_the_time_in_which_that_is_set_right(
    cloud: Cloud, users: Users, left_before_ms: int, seen_before_ms: int, found: list[str]
) -> None:
    join(cloud, users, "one", "1")
    users.leave("1", "one", NOW + 5)
    join(cloud, users, "two", "2")
    shown: list[str] = []
    cursor: Cursor = None
    for _ in range(ONLINE_SHARDS):
        page, cursor = users.stranded(cursor, left_before_ms=left_before_ms, seen_before_ms=seen_before_ms)
        shown += [user.user_id for user in page]
    assert (shown, cursor) == (found, None)


def test_the_index_shows_all_that_a_snapshot_needs(cloud: Cloud, users: Users) -> None:
    join(cloud, users, "one")
    commit(cloud, users.call_write("123", "456", NOW + 1, ongoing=True))
    commit(cloud, users.busy_write("123", NOW + 2, busy=True))
    commit(cloud, users.block_write("123", frozenset({"1"}), NOW + 3, blocked=True))
    (indexed,) = users.online()
    stored = users.get("123")
    assert stored is not None
    seen = ("user_id", "username", "role", "is_online", "is_busy", "is_away", "last_seen_ms", "version")
    for name in (*seen, "hidden_from", "listed_blocks"):
        assert getattr(indexed, name) == getattr(stored, name), name
    assert not indexed.connection_ids, "thousands of users take seconds to parse, so nothing else is fetched"


def test_several_users_are_read_together(cloud: Cloud, users: Users) -> None:
    for each in ("1", "2"):
        join(cloud, users, each, each)
    assert {user.user_id for user in users.get_many(["1", "2", "3"])} == {"1", "2"}


def test_a_missing_table_is_a_configuration_error(cloud: Cloud) -> None:
    users = Users(cloud.dynamodb, "Nowhere")
    with pytest.raises(ConfigurationError, match="reading a user: ResourceNotFoundException"):
        users.get("123")
    with pytest.raises(ConfigurationError, match="updating a user: ResourceNotFoundException"):
        users.set_offline("123", 0, NOW)


@pytest.mark.parametrize("method", ["leave", "set_offline"])
def test_an_update_without_an_answer_is_unavailable(method: str) -> None:
    class SilentDynamoDB:
        def update_item(self, **_: Any) -> None:
            raise ReadTimeoutError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")

    with pytest.raises(Unavailable, match="updating a user: ReadTimeoutError"):
        getattr(Users(cast("Any", SilentDynamoDB()), "UsersTable"), method)("123", "A" if method == "leave" else 1, 2)
