"""B46 to B60: presence, calls, listeners, iterations, the end, a later client, and what is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.scenes import SINCE, Scene, event, message, refusal, resumed


def user(user_id: int, version: int, **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, "is_online": True, "version": version, **more}


def online(user_id: int, version: int, **more: Any) -> dict[str, Any]:
    shown = {"user_id": user_id, "is_online": True, **more}
    return message("presence_update", shown, id=f"{user_id}-{version}", version=version)


def snapshot(*users: dict[str, Any], complete: bool = True) -> dict[str, Any]:
    return message("snapshot", {"users": list(users), "complete": complete}, position={"since": "s"})


async def test_b46_watched_users_are_watched_by_later_connections(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"], watch=[1])
    assert connection.query["watch"] == "1"
    await scene.do("watch", ids=[2, "c d"])
    await scene.do("unwatch", ids=[1])
    assert await connection.hears("watch") == {"user_ids": [2, "c d"]}
    assert await connection.hears("unwatch") == {"user_ids": [1]}
    connection.drops()
    assert (await scene.reopens()).query["watch"] == "2,c d"


async def test_b46_who_watches_nobody_any_more_hears_nobody_later(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"], watch=[1, "a b"])
    await scene.says(connection, snapshot())
    await scene.do("unwatch", ids=[1, "a b", 9])
    await connection.hears("unwatch")
    for _ in range(2):  # a URL that named nobody would mean everyone
        connection.drops()
        connection = await scene.reopens()
        assert connection.query["watch"] == "a b"
        assert await connection.hears("unwatch") == {"user_ids": ["a b"]}
    await scene.do("watch", ids=[2])
    connection.drops()
    assert (await scene.reopens()).query["watch"] == "2"


async def test_b46_who_never_watched_hears_everyone(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await scene.do("unwatch", ids=[9])
    connection.drops()
    assert "watch" not in (await scene.reopens()).query


async def test_b47_changes_while_it_connects_are_made_up_for(scene: Scene) -> None:
    scene.server.plans.append("hold")
    await scene.begins(endpoints=["presence"], watch=[1, 2])
    await scene.do("open")
    connection = await scene.server.connection(0)
    await scene.do("watch", ids=[3])
    await scene.do("unwatch", ids=[1])
    connection.answers("accept")
    assert await connection.hears("watch") == {"user_ids": [3]}
    assert [str(each) for each in (await connection.hears("unwatch"))["user_ids"]] == ["1"]


async def test_b48_users_who_do_not_fit_into_a_url_are_watched_by_a_frame(scene: Scene) -> None:
    ids = [f"{number}{'x' * 120}" for number in range(20)]
    connection = await scene.opens(endpoints=["presence"], watch=ids)
    assert await connection.hears("watch") == {"user_ids": ids}
    assert "watch" not in connection.query


async def test_b49_after_stale_it_requests_one_snapshot_in_time(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"], chances=[0.5])
    await scene.says(connection, snapshot())
    await scene.passes(120_000)
    await scene.says(connection, *[message("stale", {"since": "2026-01-01T00:00:00Z"})] * 3)
    await scene.passes(4_999)
    assert [each["type"] for each in scene.report["sent"]].count("sync") == 1
    await scene.passes(1)
    await connection.hears("sync", 2)
    await scene.says(connection, message("stale", {"since": "2026-01-01T00:00:00Z"}))
    await scene.passes(64_999)
    assert [each["type"] for each in scene.report["sent"]].count("sync") == 2
    await scene.passes(1)
    await connection.hears("sync", 3)


STALE = message("stale", {"since": "2026-01-01T00:00:00Z"})


async def test_b49_stale_is_heeded_though_its_connection_ends(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await scene.says(connection, snapshot(), STALE)
    connection.drops()
    young = await scene.reopens()
    await scene.says(young, resumed())
    await scene.passes(69_000)
    assert young.sent == ["resume"]
    await scene.passes(1_000)
    await young.hears("sync")


async def test_b49_the_time_to_heed_stale_may_come_without_a_connection(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await scene.says(connection, snapshot())
    await scene.passes(60_000)
    await scene.says(connection, STALE)
    await scene.do("online", is_known=False)
    connection.drops()
    await scene.sees(lambda report: report["state"] == "waiting")
    await scene.passes(20_000)
    await scene.do("online", is_known=True)
    await scene.do("wake", why="online")
    young = await scene.reopens()
    await scene.says(young, resumed())
    await young.hears("sync")
    await scene.says(young, snapshot())
    await scene.passes(200_000)
    assert young.of("sync") == [{}]


async def test_b61_a_snapshot_that_is_cut_off_is_requested_again(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await connection.hears("sync")
    await scene.says(connection, snapshot(user(1, 1), complete=False))
    for _ in range(2):
        connection.drops()
        connection = await scene.reopens()
        await connection.hears("resume")
        assert connection.sent == ["resume"]
        await scene.says(connection, resumed())
        await connection.hears("sync")
    await scene.says(connection, snapshot(user(1, 1), user(2, 1)))
    assert {each["user_id"] for each in scene.report["presence"]} == {1, 2}
    connection.drops()
    connection = await scene.reopens()
    await scene.says(connection, resumed())
    await scene.passes(200_000)
    assert "sync" not in connection.sent


async def test_b61_a_snapshot_that_a_move_cuts_off_is_requested_again(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await connection.hears("sync")
    await scene.says(connection, message("reconnect", {"within_seconds": 1}))
    await scene.passes(1_000)
    young = await scene.server.connection(1)
    await young.hears("ping")
    await scene.says(young, SINCE)
    await young.hears("sync")
    await connection.ends()


async def test_b61_a_snapshot_that_is_refused_for_good_is_not_requested_again(scene: Scene) -> None:
    connection = await scene.opens(endpoints=None)
    await connection.hears("sync")
    await scene.says(connection, refusal("BAD_REQUEST"), SINCE)
    connection.drops()
    young = await scene.reopens()
    await scene.says(young, resumed())
    await scene.passes(100_000)
    assert "sync" not in young.sent


async def test_b50_the_higher_version_holds(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await connection.hears("sync")
    await scene.says(
        connection,
        online(1, 5, is_online=False),
        snapshot(user(1, 4), user(2, 2, username="jane"), complete=False),
        snapshot(user(3, 1)),
        online(2, 1, is_busy=True),
        online(3, 2, is_busy=True),
    )
    shown = {each["user_id"]: each for each in scene.report["presence"]}
    assert {key: each["version"] for key, each in shown.items()} == {1: 5, 2: 2, 3: 2}
    assert shown[1]["is_online"] is False
    assert shown[2]["username"] == "jane"
    assert shown[3]["is_busy"] is True


async def test_b50_a_complete_snapshot_replaces_what_was_known(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"])
    await connection.hears("sync")
    await scene.says(connection, snapshot(user(1, 1), user(2, 1)), online(3, 1))
    await scene.do("sync")
    await connection.hears("sync", 2)
    await scene.says(connection, online(4, 1), snapshot(user(2, 1), complete=False))
    assert {each["user_id"] for each in scene.report["presence"]} == {1, 2, 3, 4}
    await scene.says(connection, snapshot())
    assert {each["user_id"] for each in scene.report["presence"]} == {2, 4}


async def test_b50_the_answer_to_watch_adds_users(scene: Scene) -> None:
    connection = await scene.opens(endpoints=["presence"], watch=[1])
    await connection.hears("sync")
    await scene.says(connection, snapshot(user(1, 1)))
    await scene.do("watch", ids=[2])
    await connection.hears("watch")
    await scene.says(connection, snapshot(user(2, 1)))
    assert {each["user_id"] for each in scene.report["presence"]} == {1, 2}


async def test_b51_the_call_store_keeps_calls_and_their_end(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(
        connection,
        event(1, status="x"),
        message("call_ended", {"call_id": 2, "seconds": 9}, id="b"),
        message("call_billing", {"call_id": 1, "cents": 5}, id="c"),
        message("call_started", {"call_id": 2}, id="d"),
    )
    assert scene.report["calls"] == [
        {"call_id": 2, "seconds": 9, "ended": True},
        {"call_id": 1, "cents": 5, "ended": False},
    ]


async def test_b51_the_call_store_forgets_the_oldest_ended_call_beyond_a_thousand(scene: Scene) -> None:
    connection = await scene.opens()
    ended = [message("call_ended", {"call_id": number}, id=f"e{number}") for number in range(2, 1003)]
    await scene.says(connection, [event(1), *ended])
    assert [call["call_id"] for call in scene.report["calls"]] == [*range(1002, 3, -1), 1]


async def test_b52_a_listener_hears_one_type_until_it_is_removed(scene: Scene) -> None:
    connection = await scene.opens(failOn="call_started")
    await scene.do("on", type="call_started")
    await scene.says(connection, event(1), event(2, "call_ended"))
    await scene.do("off", type="call_started")
    await scene.says(connection, event(3))
    assert [each["data"]["call_id"] for each in scene.report["on call_started"]] == [1]
    assert scene.calls() == [1, 2, 3]
    assert scene.report["failures"] == ["a listener failed"] * 2


async def test_b53_an_iteration_gives_all_in_order_until_close(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.do("iterate")
    await scene.says(connection, event(1), event(2, "call_ended"))
    connection.drops()
    await scene.says(await scene.reopens(), resumed(), event(3, "call_billing"))
    await scene.sees(lambda report: len(report["iterated"]) == 4)
    assert scene.report["iterated"] == ["call_started", "call_ended", "resumed", "call_billing"]
    assert scene.report["iterationOver"] is False
    await scene.do("close")
    await scene.sees(lambda report: report["iterationOver"])


async def test_b54_each_change_of_state_is_reported_with_its_reason(scene: Scene) -> None:
    await scene.begins()
    assert scene.report["state"] == "off"
    await scene.do("open")
    await scene.sees(lambda report: report["state"] == "open")
    scene.server.connections[0].closes(1001)
    await scene.reopens()
    await scene.do("close")
    assert [(each["endpoint"], each["state"], each["why"]) for each in scene.report["states"]] == [
        ("live", "connecting", ""), ("live", "open", ""), ("live", "waiting", "closed with 1001"),
        ("live", "connecting", ""), ("live", "open", ""), ("live", "off", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "doing", ["nothing", "asking", "connecting", "open", "moving", "waiting", "renewing", "probing"]
)
async def test_b55_nothing_is_left_after_close(scene: Scene, doing: str) -> None:
    tokens: list[dict[str, Any]] = [{"lasts": 30}, {"hangs": True}] if doing == "renewing" else [{"lasts": 3600}]
    scene.server.plans += ["hold"] if doing == "connecting" else []
    await scene.begins(tokens=[{"hangs": True}] if doing == "asking" else tokens)
    if doing != "nothing":
        await scene.do("open")
    if doing == "connecting":
        await scene.server.connection(0)
    elif doing not in {"nothing", "asking"}:
        await scene.sees(lambda report: report["state"] == "open")
        connection = scene.server.connections[0]
        await scene.says(connection, SINCE)
        if doing == "moving":
            await scene.says(connection, message("reconnect", {"within_seconds": 1}))
            await scene.passes(1000)
            await (await scene.server.connection(1)).hears("resume")
        elif doing == "waiting":
            connection.drops()
            await scene.sees(lambda report: report["state"] == "waiting")
        elif doing == "renewing":
            await scene.passes(15_000)
            assert len(scene.report["asked"]) == 2
        elif doing == "probing":
            await scene.do("wake", why="online")
    await scene.ends()
    attempts = len(scene.report["opened"])
    await scene.passes(3_600_000)
    assert scene.report["state"] == "off"
    assert len(scene.report["opened"]) == attempts
    for connection in scene.server.connections:
        await connection.ends()


async def test_b52_a_listener_that_listens_twice_hears_twice(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.do("on_twice", type="call_started")
    await scene.says(connection, event(1))
    assert len(scene.report["on call_started"]) == 2
    await scene.do("off", type="call_started")
    await scene.says(connection, event(2))
    assert len(scene.report["on call_started"]) == 3


async def test_b56_who_closes_on_a_message_acknowledges_it(scene: Scene) -> None:
    connection = await scene.opens(closeOn="call_started")
    await scene.says(connection, SINCE, event(1, ack=True))
    assert await connection.hears("ack") == {"id": event(1)["id"]}
    await scene.sees(lambda report: report["state"] == "off" and report["sockets"] == 0)


async def test_b56_who_closes_hears_nothing_that_waited(scene: Scene) -> None:
    connection = await scene.opens(closeOn="call_ended")
    await scene.says(connection, SINCE)
    connection.drops()
    young = await scene.reopens()
    await young.hears("resume")
    await scene.says(young, event(1), event(2, "call_ended"), event(3))
    young.says(resumed())
    await scene.sees(lambda report: report["state"] == "off" and report["sockets"] == 0)
    assert scene.calls() == [1, 2]


@pytest.mark.parametrize("where", ["connecting", "open", "waiting", "pong", "reconnect", "error", "stale"])
async def test_b56_a_listener_may_close(scene: Scene, where: str) -> None:
    await scene.begins(closeOn=where, endpoints=["presence"])
    await scene.do("open")
    if where != "connecting":
        connection = await scene.server.connection(0)
    if where == "waiting":
        connection.drops()
    elif where not in {"connecting", "open"}:
        data = {"within_seconds": 1, "since": "2026-01-01T00:00:00Z"}
        connection.says(refusal("INTERNAL", retry_after=1) if where == "error" else message(where, data))
    await scene.sees(lambda report: report["state"] == "off" and report["sockets"] == 0)
    assert scene.report["timers"] == 0
    attempts = len(scene.report["opened"])
    await scene.passes(3_600_000)
    assert len(scene.report["opened"]) == attempts
    assert scene.states()[-1] == "off"
    assert scene.report["syncing"] == (0 if where in {"connecting", "open"} else 1)


async def test_b58_a_later_client_goes_on_where_an_earlier_one_ended(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE, event(1))
    positions = scene.report["positions"]
    assert positions == {"live": {"since": "s", "calls/1": "1"}}
    await scene.ends()
    await scene.begins(positions=positions)
    await scene.do("open")
    second = await scene.server.connection(1)
    assert await second.hears("resume") == {"position": positions["live"]}
    assert second.sent == ["resume"]


@pytest.mark.parametrize("is_resuming", [True, False])
@pytest.mark.parametrize("is_array", [True, False])
async def test_b58_the_positions_of_who_closes_cover_nothing_that_it_did_not_hear(
    scene: Scene, *, is_array: bool, is_resuming: bool
) -> None:
    connection = await scene.opens(closeOn="call_ended")
    await scene.says(connection, SINCE)
    events = [event(1), event(2, "call_ended"), event(3)]
    live: list[Any] = [[{**events[0], "position": {}}, {**events[1], "position": {}}, events[2]]]
    if not is_array:
        live = events
    if is_resuming:
        connection.drops()
        connection = await scene.reopens()
        await connection.hears("resume")
        await scene.says(connection, *live, message("pong", position={"since": "later"}))
        live = [resumed({"calls/1": "0"})]
    connection.says(*live)
    await scene.sees(lambda report: report["state"] == "off")
    assert scene.calls() == [1, 2]
    kept = scene.report["positions"]
    before = {"calls/1": "0"} if is_resuming else {}
    assert kept == {"live": {"since": "s"} | (before if is_array else {"calls/1": "1"})}
    await scene.begins(positions=kept)
    await scene.do("open")
    later = await scene.server.connection(2 if is_resuming else 1)
    assert await later.hears("resume") == {"position": kept["live"]}


async def test_b58_positions_that_are_kept_at_a_message_cover_none_that_comes_after_it(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE)
    connection.drops()
    young = await scene.reopens()
    await young.hears("resume")
    await scene.says(young, event(2), [{**event(3), "position": {}}, event(4)], resumed({"calls/1": "1"}))
    await scene.says(young, [{**event(5), "position": {}}, event(6)])
    kept = [each["live"].get("calls/1") for each in scene.report["kept"]]
    assert scene.calls() == [2, 3, 4, 5, 6]
    assert kept == [None, None, "1", "2", "2", "4", "4"]  # at pong and resumed, and at each event
    assert scene.report["positions"]["live"]["calls/1"] == "6"


async def test_b57_a_token_that_comes_after_close_opens_nothing(scene: Scene) -> None:
    await scene.begins(tokens=[{"waits": True}])
    await scene.do("open")
    assert scene.report["asked"] == [False]
    await scene.do("close")
    await scene.do("give")
    await scene.passes(60_000)
    assert scene.report["opened"] == []
    assert scene.report["state"] == "off"


async def test_b59_a_status_is_sent_on_an_open_connection_or_not_at_all(scene: Scene) -> None:
    await scene.begins()
    await scene.do("status", status="busy")
    await scene.do("open")
    connection = await scene.server.connection(0)
    await scene.sees(lambda report: report["state"] == "open")
    await scene.do("status", status="away")
    assert await connection.hears("status") == {"status": "away"}
    assert len(connection.of("status")) == 1
    assert scene.report["told"] == [False, True]
    await scene.says(connection, message("status_set", {"status": "away"}), refusal("RATE_LIMITED", retry_after=5))
    assert scene.heard() == ["status_set", "error"]
    assert scene.states()[-1] == "open"


async def test_b60_messages_in_a_page_of_history_are_not_reported_again(scene: Scene) -> None:
    connection = await scene.opens()
    await scene.says(connection, SINCE, event(1))
    old = [event(1), event(2, ack=True)]
    await scene.says(connection, message("history_page", {"messages": old, "left_out": [], "next": None}))
    assert scene.heard() == ["pong", "call_started", "history_page"]
    await scene.says(connection, event(2))
    assert scene.calls() == [1, 2]
    assert "ack" not in connection.sent
    assert scene.report["positions"]["live"] == {"since": "s", "calls/1": "2"}
