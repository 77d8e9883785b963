from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from realtime.tables.entries import Change, Entry, Message, Unreadable, read_entries, read_entry

ONLINE = Change(
    audience="presence/*/3",
    subject="123",
    messages={
        "presence": Message("018d0cabc5d06bba19c395fdaeb5", "presence_update", '{"on":"presence"}'),
        "feed": Message("018d0cabc5d09d700803fd29b9ab", "listener_online", '{"on":"feed"}'),
    },
    expires_at_s=60,
    is_for_watchers=True,
    hidden_from=frozenset({"666"}),
    listed_blocks=3,
    shown_to=frozenset({"667"}),
    version=8,
)


def test_a_change_stands_for_an_entry_of_each_wide_audience_of_its_shard() -> None:
    on_presence, on_feed = read_entries(ONLINE.as_item(), "wide")
    assert on_presence == Entry(
        audience="presence/*/3",
        event_id="018d0cabc5d06bba19c395fdaeb5",
        kind="presence_update",
        message='{"on":"presence"}',
        expires_at_s=60,
        hidden_from=frozenset({"666"}),
        listed_blocks=3,
        shown_to=frozenset({"667"}),
        subject="123",
        version=8,
    )
    assert (on_feed.audience, on_feed.event_id, on_feed.message) == (
        "feed/*/3",
        "018d0cabc5d09d700803fd29b9ab",
        '{"on":"feed"}',
    )


def test_a_change_of_one_shard_stands_for_those_who_watch_the_user_as_well() -> None:
    stored = ONLINE.as_item()
    assert stored["reach"] == {"S": "both"}
    assert [entry.audience for entry in read_entries(stored, "narrow")] == ["presence/123", "feed/123"]
    stored = replace(ONLINE, is_for_watchers=False).as_item()
    assert stored["reach"] == {"S": "wide"}
    assert read_entries(stored, "narrow") == []
    assert len(read_entries(stored, "wide")) == 2


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_entry_is_read_as_it_was_written(is_streamed: bool) -> None:
    entry = Entry("calls/123", "018d", "call_started", "{}", 60, is_streamed=is_streamed, subject="5", version=2)
    assert read_entry(entry.as_item()) == entry


@pytest.mark.parametrize("endpoint", ["presence", "feed"])
def test_a_change_may_concern_one_endpoint_alone(endpoint: str) -> None:
    change = replace(ONLINE, messages={endpoint: ONLINE.messages[endpoint]})
    assert change.event_id == ONLINE.messages[endpoint].event_id
    assert [entry.audience for entry in read_entries(change.as_item(), "wide")] == [f"{endpoint}/*/3"]


def test_an_entry_of_its_own_is_read_whatever_the_reach() -> None:
    entry = Entry("calls/123", "018d0cabc5d06bba19c395fdaeb5", "call_started", "{}", 60)
    assert read_entries(entry.as_item(), "narrow") == read_entries(entry.as_item(), "wide") == [entry]


@pytest.mark.parametrize(
    "changes",
    [
        {"audience": {"S": "presence/123"}},
        {"subject": None},
        {"feed_kind": None},
        {"feed_id": {"N": "1"}},
        {"presence_message": {"N": "1"}},
        {"expires_at": {"S": "soon"}},
        {"hidden_from": {"S": "666"}},
        {"listed_blocks": {"S": "3"}},
    ],
    ids=str,
)
def test_a_change_that_our_functions_do_not_write_cannot_be_read(changes: dict[str, Any]) -> None:
    image = {name: value for name, value in (ONLINE.as_item() | changes).items() if value is not None}
    with pytest.raises(Unreadable):
        read_entries(image, "wide")


@pytest.mark.parametrize("name", ["connected_at", "expires_at", "version"])
def test_a_number_that_no_time_and_no_version_is_cannot_be_read(name: str) -> None:
    image = Entry("connection/a=", "1", "error", "{}", 60, stage="feed", connected_at_ms=1, version=1).as_item()
    with pytest.raises(Unreadable, match="bits"):
        read_entries({**image, name: {"N": "9" * 38}}, "narrow")  # as many digits as DynamoDB keeps
