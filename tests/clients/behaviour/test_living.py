"""B22 to B34: signs of life, tokens, and moving to another connection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.clients.scenes import SINCE, Scene, event, message, refusal, resumed
from tests.clients.server import Connection

MINUTE = 60_000


def at(ms: float) -> str:
    """A time as the service writes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pings(scene: Scene) -> int:
    return [each["type"] for each in scene.report["sent"]].count("ping")


async def minutes(scene: Scene, connection: Connection, count: int) -> None:
    """Let minutes pass in which the service says something, so that the client need not ping."""
    for _ in range(count):
        await scene.passes(MINUTE)
        await scene.says(connection, message("call_billing"))


async def test_b22_it_pings_after_four_minutes_without_a_frame(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    await scene.passes(200_000)
    await scene.says(connection, event(1))
    await scene.passes(239_999)
    assert pings(scene) == 1
    await scene.passes(1)
    assert pings(scene) == 2
    await connection.hears("ping", 2)


async def test_b23_a_line_without_an_answer_for_10_s_is_dead(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    connection.freezes()
    await scene.passes(240_000 + 9_999)
    assert scene.report["state"] == "open"
    await scene.passes(1)
    assert scene.report["states"][-1]["why"] == "no answer to a ping"
    await (await scene.reopens()).hears("resume")


async def test_b24_sending_is_no_sign_of_life(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    connection.freezes()
    for _ in range(4):
        await scene.passes(MINUTE)
        await scene.do("send", type="ack", data={"id": "1"})
    await scene.passes(10_000)
    assert scene.report["state"] == "waiting"


@pytest.mark.parametrize("why", ["online", "offline", "visibilitychange", "pageshow"])
async def test_b25_a_machine_that_comes_back_pings_and_waits_5_s(scene: Scene, why: str) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    connection.freezes()
    await scene.do("wake", why=why)
    assert pings(scene) == 2
    await scene.passes(4_999)
    assert scene.report["state"] == "open"
    await scene.passes(1)
    assert scene.report["state"] == "waiting"


async def test_b26_a_tab_that_slept_pings_and_waits_5_s(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    connection.freezes()
    await scene.do("sleep", ms=3_600_000)
    assert pings(scene) == 2
    await scene.passes(4_999)
    assert scene.report["state"] == "open"
    await scene.passes(1)
    assert scene.report["state"] == "waiting"


async def test_b26_a_line_that_outlived_the_sleep_is_kept(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    await scene.do("sleep", ms=3_600_000)
    await connection.hears("ping", 2)
    await scene.says(connection, message("pong"))
    await scene.passes(10_000)
    assert len(scene.report["opened"]) == 1


@pytest.mark.parametrize(("chance", "before_s"), [(0, 60), (1, 120)])
async def test_b27_a_token_is_renewed_on_the_open_connection_again_and_again(
    scene: Scene, chance: float, before_s: int
) -> None:
    connection = await scene.opens(tokens=[{"lasts": 3600}], chances=[chance])
    for times in (1, 2, 3):
        await minutes(scene, connection, (3600 - before_s) // 60 - 1)
        await scene.passes(MINUTE - 1)
        assert len(scene.report["asked"]) == times
        await scene.passes(1)
        assert len(connection.of("authenticate")) == times or await connection.hears("authenticate", times)
        await scene.says(connection, message("authenticated", {"expires_at": at(scene.report["at"] + 3_600_000)}))
    assert scene.report["asked"] == [False, True, True, True]
    assert len(scene.server.connections) == 1


@pytest.mark.parametrize(("chance", "after_s"), [(0, 75), (1, 50)])
async def test_b27_a_short_token_is_renewed_in_the_third_quarter_of_its_life(
    scene: Scene, chance: float, after_s: int
) -> None:
    connection = await scene.opens(tokens=[{"lasts": 100}], chances=[chance])
    await scene.passes(after_s * 1000 - 1)
    assert scene.report["asked"] == [False]
    await scene.passes(1)
    await connection.hears("authenticate")


@pytest.mark.parametrize("code", ["AUTH_FAILED", "PERMISSION_DENIED"])
async def test_b28_a_refused_renewal_is_tried_again(scene: Scene, code: str) -> None:
    connection = await scene.opens(tokens=[{"lasts": 3600}], chances=[0])
    await minutes(scene, connection, 59)
    await connection.hears("authenticate")
    await scene.says(connection, refusal(code))
    assert scene.report["state"] == "open"
    await scene.passes(9_999)
    assert len(scene.report["asked"]) == 2
    await scene.passes(1)
    await connection.hears("authenticate", 2)
    assert len(scene.report["opened"]) == 1


async def test_b29_a_provider_that_fails_to_renew_is_asked_again(scene: Scene) -> None:
    connection = await scene.opens(tokens=[{"lasts": 3600}, {"fails": "no"}, {"lasts": 3600}], chances=[0])
    await minutes(scene, connection, 59)
    assert connection.of("authenticate") == []
    await scene.passes(10_000)
    await connection.hears("authenticate")
    assert scene.report["state"] == "open"


async def test_b27_a_token_is_renewed_after_a_move_whose_old_connection_broke(scene: Scene) -> None:
    old, young = await move(scene, tokens=[{"lasts": 3600}])
    old.drops()
    await scene.sees(lambda report: report["state"] == "connecting")
    await scene.says(young, resumed())
    await minutes(scene, young, 60)
    await young.hears("authenticate")


async def test_b27_an_answer_that_does_not_say_when_it_ends_is_no_reason_to_renew(scene: Scene) -> None:
    connection = await scene.opens(tokens=[{"lasts": 3600}], chances=[0])
    await minutes(scene, connection, 59)
    await connection.hears("authenticate")
    await scene.says(connection, message("authenticated"))
    await minutes(scene, connection, 2)
    assert scene.report["asked"] == [False, True]


async def test_b29_a_slow_provider_is_given_the_time_it_takes(scene: Scene) -> None:
    connection = await scene.opens(tokens=[{"lasts": 3600}, {"waits": True}, {"hangs": True}], chances=[0])
    await minutes(scene, connection, 59)
    await scene.passes(12_000)
    await scene.do("give")
    await connection.hears("authenticate")


async def test_b29_a_provider_that_hangs_does_not_keep_the_next_connection_from_renewing(scene: Scene) -> None:
    tokens = [{"lasts": 3600}, {"hangs": True}, {"lasts": 100}, {"lasts": 100}]
    connection = await scene.opens(tokens=tokens, chances=[0])
    await minutes(scene, connection, 58)
    await scene.passes(MINUTE)
    connection.drops()
    young = await scene.reopens()
    await scene.passes(75_000)
    await young.hears("authenticate")


@pytest.mark.parametrize("wrong_ms", [3_600_000, -1_800_000])
async def test_b30_expiry_is_judged_by_the_clock_of_the_service(scene: Scene, wrong_ms: int) -> None:
    connection = await scene.opens(tokens=[{"lasts": 3600 + wrong_ms / 1000}], chances=[0])
    await scene.says(connection, message("pong", timestamp=at(scene.report["at"] + wrong_ms)))
    await minutes(scene, connection, 58)
    assert scene.report["asked"] == [False]
    await minutes(scene, connection, 1)
    await connection.hears("authenticate")


async def move(scene: Scene, within_s: float = 60, **options: Any) -> tuple[Connection, Connection]:
    """Have a client move; returns the old connection, and the new one, of which it awaits an answer to `resume`."""
    old = await scene.opens(**options)
    await scene.says(old, SINCE, message("reconnect", {"within_seconds": within_s}))
    await scene.passes(within_s * 1000)
    young = await scene.server.connection(1)
    await young.hears("resume")
    return old, young


async def test_b31_it_moves_and_leaves_the_old_connection_when_the_new_one_has_resumed(scene: Scene) -> None:
    old, young = await move(scene)
    await scene.says(old, event(1), event(2))
    assert not old.closed
    await scene.says(young, event(2), event(3), [message("call_started", {"call_id": 1}, id=event(1)["id"])], resumed())
    await old.ends()
    await scene.says(young, event(4))
    assert scene.calls() == [1, 2, 3, 4]
    assert scene.states() == ["connecting", "open"]


async def test_b31_it_moves_at_a_random_time(scene: Scene) -> None:
    old = await scene.opens(chances=[0.5])
    await scene.says(old, SINCE, message("reconnect", {"within_seconds": 60}))
    await scene.passes(29_999)
    assert len(scene.report["opened"]) == 1
    await scene.passes(1)
    assert len((await scene.do("look"))["opened"]) == 2


async def test_b31_two_hours_pass_in_which_it_misses_nothing(scene: Scene) -> None:
    connection, told = await scene.opens(), 0
    await scene.says(connection, SINCE)
    for hour in range(3):
        for _ in range(11):
            await minutes(scene, connection, 10)
            told += 1
            await scene.says(connection, event(told))
        await scene.says(connection, message("reconnect", {"within_seconds": 60}))
        await scene.passes(MINUTE)
        young = await scene.server.connection(hour + 1)
        await young.hears("resume")
        await scene.says(young, resumed())
        await connection.ends()
        connection = young
    assert scene.calls() == list(range(1, told + 1))
    assert len(scene.report["opened"]) == 4


@pytest.mark.parametrize("fails", ["handshake", "resume"])
async def test_b32_a_move_that_fails_keeps_the_old_connection(scene: Scene, fails: str) -> None:
    scene.server.plans += ["accept", 500 if fails == "handshake" else "accept"]
    old = await scene.opens()
    await scene.says(old, SINCE, message("reconnect", {"within_seconds": 1}))
    await scene.passes(1000)
    if fails == "resume":
        await (await scene.server.connection(1)).hears("resume")
        scene.server.connections[1].drops()
    third = await scene.attempts(3)
    await third.hears("resume")
    await scene.says(old, event(1))
    await scene.says(third, resumed())
    await old.ends()
    assert scene.calls() == [1]
    assert scene.states() == ["connecting", "open"]


async def test_b32_a_move_that_fails_without_a_network_is_tried_again(scene: Scene) -> None:
    scene.server.plans += ["accept", 500]
    old = await scene.opens()
    await scene.do("online", is_known=False)
    await scene.says(old, SINCE, message("reconnect", {"within_seconds": 1}))
    await scene.passes(1000)
    await (await scene.server.connection(1)).ends()
    await scene.do("online", is_known=True)
    await scene.do("wake", why="online")
    await scene.says(old, message("pong"))
    await (await scene.attempts(3)).hears("resume")


async def test_b33_a_refused_resume_is_sent_again_though_the_old_connection_ended(scene: Scene) -> None:
    old, young = await move(scene)
    await scene.says(young, refusal("RATE_LIMITED", retry_after=3))
    old.drops()
    await scene.sees(lambda report: report["state"] == "connecting")
    await scene.passes(3_000)
    await young.hears("resume", 2)


async def test_b33_if_the_old_connection_ends_the_new_one_goes_on_alone(scene: Scene) -> None:
    old, young = await move(scene)
    old.drops()
    await scene.sees(lambda report: report["state"] == "connecting")
    await scene.says(young, event(1), resumed())
    assert scene.report["state"] == "open"
    await scene.passes(MINUTE)
    assert len(scene.report["opened"]) == 2
    assert scene.calls() == [1]


async def test_b34_reconnect_within_0_s_means_at_once(scene: Scene) -> None:
    old = await scene.opens(chances=[0])
    old.says(message("reconnect", {"within_seconds": 0}))
    await scene.sees(lambda report: report["state"] == "waiting")
    await scene.passes(0)
    await scene.sees(lambda report: len(report["opened"]) == 2)
    await old.ends()
