"""B01 to B21: how a client connects, is refused, and tries again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.clients.scenes import SINCE, Scene, message, refusal


def pauses(scene: Scene) -> list[float]:
    """The times between the end of an attempt and the next one (ms)."""
    return [
        after["at"] - before["at"]
        for before, after in pairwise(scene.report["states"])
        if (before["state"], after["state"]) == ("waiting", "connecting")
    ]


async def test_b01_one_socket_hears_what_is_named(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["feed", "calls"], watch=[1, "a b"], types=["call_started"])
    assert connection.path == "/ws/live"
    assert connection.query == {
        "batch": "true", "endpoints": "feed,calls", "types": "call_started", "watch": "1,a b",
    }  # fmt: skip


async def test_b01_all_endpoints_are_heard_unless_some_are_named(scene: Scene) -> None:
    connection = await scene.opens(endpoints=None)
    assert (connection.path, connection.query) == ("/ws/live", {"batch": "true"})
    await connection.hears("sync")


async def test_b01_a_client_of_calls_alone_watches_nobody(scene: Scene) -> None:
    connection = await scene.opens(watch=[1])
    assert connection.query == {"batch": "true", "endpoints": "calls"}
    await scene.do("watch", ids=[2])  # the service refuses the frame; in the URL it would refuse every handshake
    connection.drops()
    assert (await scene.reopens()).query == {"batch": "true", "endpoints": "calls"}


async def test_b01_no_types_are_all_types(scene: Scene) -> None:
    connection = await scene.opens(types=[])
    assert connection.query == {"batch": "true", "endpoints": "calls"}
    assert "types" not in scene.report["opened"][0]


async def test_b02_each_endpoint_may_have_a_socket(scene: Scene) -> None:
    scene.server.plans += ["accept", "hold"]
    await scene.begins(endpoints=["feed", "calls"], oneSocket=False)
    await scene.do("open")
    await scene.server.connection(1)
    assert {each.path for each in scene.server.connections} == {"/ws/feed", "/ws/calls"}
    await scene.sees(lambda report: any(each["state"] == "open" for each in report["states"]))
    assert scene.report["state"] == "connecting"
    scene.server.connections[1].answers("accept")
    await scene.sees(lambda report: report["state"] == "open")


async def test_b03_the_token_is_not_in_the_url(scene: Scene) -> None:
    connection = await scene.opens()
    assert connection.token.startswith("h.")
    assert connection.token not in scene.report["opened"][0]
    assert connection.request
    assert ("Authorization" in connection.request.headers) is scene.is_python


async def test_b04_the_provider_is_asked_at_each_attempt_and_not_before(scene: Scene) -> None:
    await scene.begins()
    assert (await scene.passes(60_000))["asked"] == []
    await scene.do("open")
    await scene.sees(lambda report: report["state"] == "open")
    scene.server.connections[0].drops()
    second = await scene.reopens()
    assert scene.report["asked"] == [False, False]
    assert second.token != scene.server.connections[0].token


async def test_b05_a_provider_that_fails_is_a_failed_attempt(scene: Scene) -> None:
    await scene.begins(tokens=[{"fails": "nothing answers"}, {"lasts": 3600}])
    await scene.do("open")
    await scene.sees(lambda report: report["state"] == "waiting")
    assert scene.report["states"][-1]["why"] == "nothing answers"
    await scene.attempts(1)
    await scene.sees(lambda report: report["state"] == "open")


@pytest.mark.parametrize("slow", ["token", "handshake"])
async def test_b06_an_attempt_ends_after_20_s(scene: Scene, slow: str) -> None:
    scene.server.plans += ["hold"] if slow == "handshake" else []
    await scene.begins(tokens=[{"hangs": True} if slow == "token" else {"lasts": 3600}, {"lasts": 3600}])
    await scene.do("open")
    if slow == "handshake":
        await scene.server.connection(0)
    await scene.passes(19_999)
    assert scene.report["state"] == "connecting"
    await scene.passes(1)
    assert scene.report["state"] == "waiting"
    await scene.attempts(2 if slow == "handshake" else 1)
    await scene.sees(lambda report: report["state"] == "open")


async def test_b07_a_token_that_expired_while_offline_is_not_used(scene: Scene) -> None:
    first = await scene.opens(tokens=[{"lasts": 3600}, {"lasts": -5}, {"lasts": 3600}])
    await scene.do("online", is_known=False)
    first.drops()
    await scene.sees(lambda report: report["state"] == "waiting")
    await scene.passes(7_200_000)
    await scene.do("online", is_known=True)
    await scene.do("wake", why="online")
    second = await scene.reopens()
    assert scene.report["asked"] == [False, False, True]
    assert len(scene.server.connections) == 2
    assert second.token != first.token


async def test_b08_the_first_frame_asks_for_presence_or_for_a_position(scene: Scene) -> None:
    connection = await scene.opens()
    await connection.hears("ping")
    assert connection.sent == ["ping"]


async def test_b08_with_presence_the_first_frame_is_sync(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["feed", "calls"])
    await connection.hears("sync")
    assert connection.sent == ["sync"]


async def test_b08_where_sync_is_refused_a_ping_brings_the_position(scene: Scene) -> None:
    connection = await scene.opens(endpoints=None)
    await connection.hears("sync")
    await scene.says(connection, refusal("BAD_REQUEST"))
    await connection.hears("ping")
    await scene.says(connection, SINCE)
    connection.drops()
    assert await (await scene.reopens()).hears("resume") == {"position": {"since": "s"}}


async def test_b09_a_token_that_is_refused_is_not_used_again(scene: Scene) -> None:
    connection = await scene.opens()
    connection.says(refusal("AUTH_FAILED"))
    connection.closes(1000)
    await scene.reopens()
    assert scene.report["asked"] == [False, True]
    assert "AUTH_FAILED: no" in [each["why"] for each in scene.report["states"]]


async def test_b10_without_permission_it_stops_for_good(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, refusal("PERMISSION_DENIED"))
    await scene.passes(600_000)
    assert len(scene.report["opened"]) == 1
    assert (scene.report["state"], scene.report["states"][-1]["why"]) == ("refused", "PERMISSION_DENIED: no")


async def test_b11_status_401_asks_for_another_token(scene: Scene) -> None:
    scene.server.plans.append(401)
    await scene.begins()
    await scene.do("open")
    await scene.reopens()
    assert scene.report["asked"] == [False, True]


async def test_b12_status_403_ends_it(scene: Scene) -> None:
    scene.server.plans.append(403)
    await scene.begins()
    await scene.do("open")
    await scene.sees(lambda report: report["state"] == "refused")
    await scene.passes(600_000)
    assert len(scene.report["opened"]) == 1


async def test_b13_other_refusals_are_failures_and_the_fifth_suspects_the_token(scene: Scene) -> None:
    scene.server.plans += [500, 429, 503, 400]
    await scene.begins()
    await scene.do("open")
    for count in range(1, 5):
        await scene.attempts(count)
        await scene.sees(lambda report, count=count: report["states"][-1]["state"] == "waiting")  # type: ignore[misc]
    await scene.reopens()
    assert scene.report["asked"] == [False, False, False, False, True]


async def test_b13_the_token_is_suspected_again_and_again(scene: Scene) -> None:
    scene.server.plans += [503] * 40
    await scene.begins(chances=[0.001])
    await scene.do("open")
    await scene.reopens()
    assert [at for at, anew in enumerate(scene.report["asked"]) if anew] == [4, 9, 14, 19, 24, 29, 34, 39]


async def test_b14_at_the_limit_it_tries_again_and_says_why(scene: Scene) -> None:
    connection = await scene.opens()
    connection.says(refusal("CONNECTION_LIMIT"))
    connection.closes(1000)
    await scene.reopens()
    assert "CONNECTION_LIMIT: no" in [each["why"] for each in scene.report["states"]]


async def test_b15_a_replaced_connection_is_in_no_hurry(scene: Scene) -> None:
    connection = await scene.opens()
    connection.says(message("error", {"code": "CONNECTION_LIMIT", "message": "Replaced by a newer connection"}))
    connection.closes(1000)
    await scene.sees(lambda report: report["state"] == "waiting")
    await scene.passes(59_999)
    assert len(scene.report["opened"]) == 1
    await scene.passes(1)
    assert len((await scene.do("look"))["opened"]) == 2


async def test_b16_retry_after_is_waited_for_also_when_the_machine_comes_back(scene: Scene) -> None:
    connection = await scene.opens()
    connection.says(refusal("CONNECTION_LIMIT", retry_after=20))
    connection.closes(1000)
    await scene.sees(lambda report: report["state"] == "waiting")
    await scene.do("wake", why="online")
    await scene.passes(20_499)
    assert len(scene.report["opened"]) == 1
    await scene.passes(1)
    assert len((await scene.do("look"))["opened"]) == 2


async def test_b17_a_refusal_of_api_gateway_leads_to_another_connection(scene: Scene) -> None:
    connection = await scene.opens()
    connection.says({"message": "Too Many Requests", "connectionId": "c", "requestId": "r"})
    await scene.sees(lambda report: report["state"] == "waiting")
    await connection.ends()
    assert scene.report["states"][-1]["why"] == "Too Many Requests"
    await scene.reopens()


async def test_b18_pauses_double_from_half_a_second_to_a_minute(scene: Scene) -> None:
    scene.server.plans += [500] * 9
    await scene.begins()
    await scene.do("open")
    for count in range(1, 11):
        await scene.attempts(count)
        await scene.sees(lambda report, count=count: len(report["states"]) >= 2 * count)  # type: ignore[misc]
    assert pauses(scene) == [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]


async def test_b18_a_pause_is_a_random_part(scene: Scene) -> None:
    scene.server.plans += [500, 500, 500]
    await scene.begins(chances=[0.25, 0.5, 0.75])
    await scene.do("open")
    for count in range(1, 4):
        await scene.attempts(count)
        await scene.sees(lambda report, count=count: len(report["states"]) >= 2 * count)  # type: ignore[misc]
    await scene.attempts(4)
    assert pauses(scene) == [125, 500, 1500]


async def test_b19_only_a_connection_that_lasts_forgets_failures(scene: Scene) -> None:
    connection = await scene.opens()
    for lasted, pause in ((0, 500), (29_000, 1000), (30_000, 500)):
        await scene.passes(lasted)
        connection.drops()
        await scene.sees(lambda report: report["state"] == "waiting")
        before = scene.report["at"]
        connection = await scene.reopens()
        assert scene.report["at"] - before == pause


@pytest.mark.parametrize("code", [1000, 1001, None, 1006, 1008, 1009, 1011, 1012, 4000])
async def test_b20_it_comes_back_after_every_close(scene: Scene, code: int | None) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    if code == 1006:
        connection.drops()
    else:
        connection.closes(code)
    await scene.sees(lambda report: report["state"] == "waiting")
    assert scene.report["states"][-1]["why"] == f"closed with {code or 1005}"
    await (await scene.reopens()).hears("resume")


async def test_b21_without_a_network_it_waits_for_one(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.do("online", is_known=False)
    connection.drops()
    await scene.sees(lambda report: report["state"] == "waiting")
    await scene.passes(3_600_000)
    assert len(scene.report["opened"]) == 1
    await scene.do("online", is_known=True)
    await scene.do("wake", why="online")
    await scene.passes(500)
    assert len((await scene.do("look"))["opened"]) == 2
