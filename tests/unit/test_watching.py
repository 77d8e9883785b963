from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest

from realtime.errors import BadRequest
from realtime.messages import ENDPOINTS
from realtime.tables.connections import Connection, Connections
from realtime.watching import MAX_WATCHED, Watching, check_watchable, parse_user_ids, read_watch_parameter


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_users_can_be_watched_on_endpoints_with_presence_only(endpoint: str) -> None:
    if endpoint in {"feed", "presence"}:
        check_watchable(endpoint)
        return
    with pytest.raises(BadRequest, match=f"{endpoint} tells no presence; connect to feed or presence"):
        check_watchable(endpoint)


def test_user_ids_are_numbers_or_words_and_each_counts_once() -> None:
    assert parse_user_ids([1, "1", "a", 2, "a"]) == ["1", "a", "2"]


@pytest.mark.parametrize("values", [None, [], {}, "1,2", 7, list(range(MAX_WATCHED + 1))])
def test_an_empty_or_too_long_list_of_users_is_refused(values: object) -> None:
    with pytest.raises(BadRequest, match="user_ids: must be a list of 1 to 100 user ids"):
        parse_user_ids(values)


@pytest.mark.parametrize("value", [None, True, 1.5, "", "a/b", "*/0", [1], {}])
def test_an_invalid_user_id_is_refused(value: object) -> None:
    with pytest.raises(BadRequest, match="user_ids: each must be a whole number, or 1 to 128 characters"):
        parse_user_ids([1, value])


@pytest.mark.parametrize(
    ("parameters", "users"),
    [
        ({}, []),
        ({"watch": ""}, []),
        ({"watch": "1"}, ["1"]),
        ({"watch": " 1, a ,1,"}, ["1", "a"]),
        ({"other": "1"}, []),
    ],
)
def test_the_watch_parameter_names_users(parameters: dict[str, str], users: list[str]) -> None:
    assert read_watch_parameter(parameters, "feed") == users


@pytest.mark.parametrize("watch", [",", " , ", "a/b", ",".join(map(str, range(MAX_WATCHED + 1)))])
def test_a_watch_parameter_with_no_users_or_too_many_is_refused(watch: str) -> None:
    with pytest.raises(BadRequest, match="user_ids: "):
        read_watch_parameter({"watch": watch}, "feed")


def test_a_watch_parameter_on_an_endpoint_without_presence_is_refused() -> None:
    assert read_watch_parameter({}, "calls") == []
    with pytest.raises(BadRequest, match="calls tells no presence"):
        read_watch_parameter({"watch": "1"}, "calls")


PRESENCE = Connection("one=", "presence", "5", 1_705_314_600_000, 1_705_318_200)


class FakeConnections(Connections):
    """The subscriptions of one connection, and the journal of their changes."""

    def __init__(self, *audiences: str) -> None:
        self.audiences = list(audiences)
        self.journal: list[str] = []

    def subscriptions(self, connection_id: str) -> tuple[str | None, list[str]]:
        return "5", [f"connection/{connection_id}", *self.audiences]

    def subscribe(self, connection: Connection, audiences: Collection[str]) -> None:
        self.journal += [f"add {audience}" for audience in audiences]

    def delete(self, heard: Iterable[tuple[str, str]]) -> None:
        self.journal += [f"remove {audience}" for connection_id, audience in heard if connection_id == "one="]


def test_the_audiences_of_watched_users_are_added_before_everyone_is_removed() -> None:
    connections = FakeConnections("presence/*/3")
    assert Watching(connections).watch(PRESENCE, ["7", "8"]) == ["presence/7", "presence/8"]
    assert connections.journal == ["add presence/7", "add presence/8", "remove presence/*/3"]


def test_a_user_who_is_watched_already_is_not_added_again() -> None:
    connections = FakeConnections("presence/7")
    assert Watching(connections).watch(PRESENCE, ["7", "8"]) == ["presence/7", "presence/8"]
    assert connections.journal == ["add presence/8"]


def test_a_connection_watches_a_hundred_users_and_no_more() -> None:
    watched = [str(number) for number in range(MAX_WATCHED - 1)]
    connections = FakeConnections(*(f"presence/{user_id}" for user_id in watched))
    Watching(connections).watch(PRESENCE, ["last", *watched])
    assert connections.journal == ["add presence/last"]
    with pytest.raises(BadRequest, match="a connection watches 100 users at most, and this one 99"):
        Watching(connections).watch(PRESENCE, ["last", "one too many"])


def test_audiences_of_other_endpoints_do_not_count_as_subscriptions() -> None:
    assert Watching(FakeConnections("presence/7", "feed/8")).subscriptions(PRESENCE) == ["presence/7"]
