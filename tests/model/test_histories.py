"""Histories that once went wrong, each as small as it could be made."""

from __future__ import annotations

import pytest

from tests.model.promises import check_all
from tests.model.runtime import Trouble
from tests.model.world import GRACE, World


def test_who_was_hidden_is_shown_as_they_are_once_they_hide_no_more(world: World) -> None:
    world.connect("1", "presence")
    watcher = world.connect("2", "presence")
    world.send(watcher, "sync")
    world.block("1", "2")
    world.deliver_all()
    world.publish("status_change", {"user_id": "1", "is_busy": True})
    world.deliver_all()
    world.block("1", "2", is_blocked=False)
    world.deliver_all()
    world.settle()
    check_all(world)


def test_sync_right_after_a_block_does_not_show_who_blocked(world: World) -> None:
    world.connect("1", "presence")
    watcher = world.connect("2", "presence")
    world.deliver_all()
    world.block("1", "2")
    world.deliver_all()
    world.send(watcher, "sync")


def test_sync_right_after_an_unblock_shows_who_blocked(world: World) -> None:
    watcher = world.connect("2", "presence")
    world.block("1", "2")
    world.deliver_all()
    world.connect("1", "presence")
    world.deliver_all()
    world.block("1", "2", is_blocked=False)
    world.deliver_all()
    world.send(watcher, "sync")
    world.settle()
    check_all(world)


@pytest.mark.parametrize("seconds", [0, 120])  # before the snapshot; what is older, the outbox's last minute lacks
def test_a_late_message_does_not_bring_back_whom_a_snapshot_left_out(world: World, seconds: int) -> None:
    watcher = world.connect("2", "presence")
    socket = world.connect("1", "presence")
    world.announce(list(world.user_records))
    late = list(world.event_records)
    world.close(socket)
    world.disconnect(socket)
    world.announce(list(world.user_records))
    world.pass_time(GRACE + 1)
    world.check(world.due_checks())
    world.announce(list(world.user_records))
    world.broadcast([record for record in world.event_records if record not in late])
    world.pass_time(seconds)
    world.send(watcher, "sync")
    world.settle()
    check_all(world)


def test_watching_on_feed_shows_only_listeners(world: World) -> None:
    watcher = world.connect("2", "feed")
    other = world.connect("zoe", "calls")
    world.send(watcher, "watch", ["zoe"])
    world.close(other)
    world.settle()
    check_all(world)


def test_a_user_who_becomes_a_listener_while_connected_is_told_on_feed(world: World) -> None:
    watcher = world.connect("2", "feed", role="listener")
    world.send(watcher, "sync")
    world.connect("1", "calls")
    world.deliver_all()
    world.connect("1", "calls", role="listener")
    world.settle()
    check_all(world)


def test_what_is_posted_before_a_handshake_is_done_does_not_forget_the_connection(world: World) -> None:
    world.connect("2", "presence", trouble=Trouble("meanwhile", 5, ("deliver",)))
    world.settle()
    check_all(world)


def test_a_connection_that_two_find_gone_leaves_once(world: World) -> None:
    socket = world.connect("1", "presence")
    world.pass_time(60)
    world.close(socket)
    world.publish("status_change", {"user_id": "1", "is_busy": True})
    world.disconnect(socket, Trouble("meanwhile", 1, ("deliver",)))
    world.settle()
    check_all(world)
