from __future__ import annotations

from realtime.tables.posted import LastPosted, PostedPositions
from tests.support.cloud import STORY_BEGINS, Cloud

MINE = LastPosted("a position", "an id")


def test_what_an_instance_notes_another_reads(cloud: Cloud) -> None:
    posted = PostedPositions(cloud.dynamodb, "EventsTable")
    everyones = LastPosted("another", "another id")
    posted.write({"calls/123": MINE, "notifications/*/0": everyones}, STORY_BEGINS)
    assert posted.read(["calls/123", "calls/789"]) == {"calls/123": MINE}
    posted.write({"calls/123": everyones}, STORY_BEGINS)
    assert posted.read(["calls/123", "notifications/*/0"]) == {"calls/123": everyones, "notifications/*/0": everyones}


def test_what_was_noted_expires_and_is_not_streamed(cloud: Cloud) -> None:
    PostedPositions(cloud.dynamodb, "EventsTable").write({"calls/123": MINE}, STORY_BEGINS)
    (row,) = cloud.rows("Events")
    assert row == {
        "audience": "posted/calls/123",
        "event_id": "-",
        "position": "a position",
        "last_id": "an id",
        "expires_at": STORY_BEGINS + 60,
    }
