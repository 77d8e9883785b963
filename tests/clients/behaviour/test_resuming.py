"""B35 to B45: what is missed, what comes twice, and frames."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.scenes import SINCE, Scene, event, message, refusal, resumed
from tests.clients.server import Connection


async def comes_back(scene: Scene, connection: Connection) -> Connection:
    """Break a connection; return the next one, which awaits an answer to `resume`."""
    connection.drops()
    young = await scene.reopens()
    await young.hears("resume")
    return young


def replayed(number: int) -> dict[str, object]:
    """An event that was missed: it brings no position."""
    return {name: value for name, value in event(number).items() if name != "position"}


async def test_b35_it_resumes_from_all_positions_merged(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    assert second.of("resume") == [{"position": {"since": "s"}}]
    await scene.says(second, resumed(), event(1), message("call_ended", id="2", position={"notifications/1": "n"}))
    third = await comes_back(scene, second)
    assert third.of("resume") == [{"position": {"since": "s", "calls/1": "1", "notifications/1": "n"}}]


async def test_b36_positions_stay_aside_until_all_that_was_missed_is_there(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    await scene.says(second, event(3))
    third = await comes_back(scene, second)
    assert third.of("resume") == [{"position": {"since": "s"}}]
    await scene.says(third, event(4), [replayed(3)], resumed({"calls/1": "old"}))
    fourth = await comes_back(scene, third)
    assert fourth.of("resume") == [{"position": {"since": "s", "calls/1": "4"}}]
    assert scene.calls() == [3, 4]


async def test_b37_it_goes_on_at_once_until_the_answer_is_complete(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    await scene.says(second, [replayed(1)], resumed({"calls/1": "half"}, complete=False))
    assert await second.hears("resume", 2) == {"position": {"since": "s", "calls/1": "half"}}
    third = await comes_back(scene, second)
    assert third.of("resume") == [{"position": {"since": "s", "calls/1": "half"}}]


@pytest.mark.parametrize(("more", "ms"), [({"retry_after": 2}, 2000), ({}, 5000)])
async def test_b38_a_refused_resume_is_sent_again(scene: Scene, more: dict[str, int], ms: int) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    await scene.says(second, refusal("INTERNAL", **more))
    await scene.passes(ms - 1)
    assert len([each for each in scene.report["sent"] if each["type"] == "resume"]) == 1
    await scene.passes(1)
    await second.hears("resume", 2)


async def test_b38_a_refusal_of_the_rest_is_no_end(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    await scene.says(second, [replayed(1)], resumed({"calls/1": "1"}, complete=False))
    await second.hears("resume", 2)
    await scene.says(second, refusal("RATE_LIMITED", retry_after=1), event(3))
    await scene.passes(1000)
    await second.hears("resume", 3)
    await scene.says(second, [replayed(2)], resumed())
    assert scene.calls() == [1, 2, 3]


async def test_b39_if_history_does_not_reach_back_it_requests_a_snapshot(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await scene.says(connection, message("snapshot", {"users": [], "complete": True}, position={"since": "s"}))
    second = await comes_back(scene, connection)
    await scene.says(second, resumed(recovered=False))
    await second.hears("sync")
    assert second.sent == ["resume", "sync"]


async def test_b39_a_gap_in_any_part_of_the_answer_counts(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"], positions={"live": {"since": "old"}})
    await connection.hears("resume")
    await scene.says(connection, resumed({"a": "1"}, complete=False, recovered=False))
    await connection.hears("resume", 2)
    await scene.says(connection, resumed({"a": "2"}))
    await connection.hears("sync")
    assert connection.sent == ["resume", "resume", "sync"]


async def test_b39_without_presence_the_application_hears_that_it_missed_events(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    await scene.says(second, resumed(recovered=False))
    await scene.passes(60_000)
    assert second.sent == ["resume"]
    assert scene.report["heard"][-1]["data"]["recovered"] is False


async def test_b40_missed_events_come_before_live_ones(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE, event(1))
    second = await comes_back(scene, connection)
    await scene.says(second, event(4, ack=True), [replayed(2)], event(5))
    assert scene.calls() == [1, 2]
    assert second.of("ack") == []
    await scene.says(second, resumed(complete=False), [replayed(3), replayed(4)], resumed())
    assert scene.calls() == [1, 2, 3, 4, 5]
    await second.hears("ack")
    assert len(second.of("ack")) == 1


async def test_b41_an_event_is_reported_once_over_connections(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE, event(1), event(2), event(1))
    second = await comes_back(scene, connection)
    await scene.says(second, [replayed(1), replayed(2), replayed(3)], resumed(), event(3))
    assert scene.calls() == [1, 2, 3]


async def test_b42_an_event_is_acknowledged_after_the_listeners_each_time(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE, event(1, ack=True), event(1, ack=True), event(2))
    await connection.hears("ack", 2)
    assert connection.of("ack") == [{"id": event(1)["id"]}] * 2
    heard = [each["heard"] for each in scene.report["sent"] if each["type"] == "ack"]
    assert heard == [2, 2]  # the answer to the ping, and the event


async def test_b62_a_resume_without_an_answer_is_sent_again_once(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    await scene.says(second, event(2))
    await scene.passes(29_999)
    assert second.sent == ["resume"]
    await scene.passes(1)
    await second.hears("resume", 2)
    await scene.says(second, event(3))
    await scene.passes(29_999)
    assert scene.report["state"] == "open"
    await scene.passes(1)
    assert (scene.report["state"], scene.states()[-1]) == ("waiting", "waiting")
    assert scene.report["states"][-1]["why"] == "no answer to resume"
    third = await scene.reopens()
    await third.hears("resume")
    await scene.says(third, [replayed(2), replayed(3)], resumed())
    assert scene.calls() == [2, 3]
    await scene.passes(100_000)
    assert third.sent == ["resume"]


async def test_b62_an_answer_may_take_long_as_long_as_it_goes_on(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    second = await comes_back(scene, connection)
    for number in range(1, 5):
        await scene.passes(29_000)
        await scene.says(second, [replayed(number)])
    await scene.passes(29_000)
    assert second.sent == ["resume"]
    await scene.says(second, refusal("RATE_LIMITED", retry_after=50))
    await scene.passes(49_999)
    assert second.sent == ["resume"]
    await scene.passes(1)
    await second.hears("resume", 2)


async def test_b44_a_frame_may_be_an_array_and_in_pieces(scene: Scene) -> None:
    connection = await scene.opens()
    connection.splits([event(1), event(2)])
    await scene.says(connection, event(3))
    assert scene.calls() == [1, 2, 3]


ODD = [
    {"type": "news", "data": "a text"},
    {"type": "news", "data": [1], "id": ["a"], "ack": True},
    {"type": "news", "position": None, "timestamp": ["a"]},
    {"type": "resumed", "data": "a text"},
    {"type": "error", "data": {"code": ["a"], "message": 5, "retry_after": "1"}},
    {"type": "snapshot", "data": {"users": 5}},
    {"type": "authenticated", "data": {"expires_at": ["a"]}},
    {"type": "reconnect", "data": {"within_seconds": "5"}},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_b45_a_message_of_an_unexpected_shape_ends_nothing(scene: Scene, odd: dict[str, Any]) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE, odd, event(7))
    assert scene.heard() == ["pong", odd["type"], "call_started"]
    assert scene.report["state"] == "open"
    assert scene.report["positions"]["live"] == {"since": "s", "calls/1": "7"}


@pytest.mark.parametrize("frame", ["5", "[null]", '{"type": ["x"]}'])
async def test_b17_a_frame_whose_type_is_no_text_has_none(scene: Scene, frame: str) -> None:
    connection = await scene.opens()
    connection.says(frame)
    await scene.sees(lambda report: report["state"] == "waiting")
    assert scene.report["failures"] == []


@pytest.mark.parametrize("frame", ["", "{", "[]", '{"type": "error"}', '{"type": "reconnect", "data": null, "id": 3}'])
async def test_b45_what_is_no_message_changes_nothing(scene: Scene, frame: str) -> None:
    connection = await scene.opens()
    await scene.says(connection, frame if "reconnect" not in frame else "[", message("type_of_2030"))
    assert scene.heard()[-1] == "type_of_2030"
    assert scene.report["state"] == "open"
    assert scene.report["failures"] == []
