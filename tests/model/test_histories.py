"""Histories that once failed, each reduced as far as possible."""

from __future__ import annotations

import pytest

from tests.model.promises import check_all
from tests.model.runtime import Trouble
from tests.model.service import GRACE, SimulatedService


def test_a_user_who_unblocks_a_watcher_is_shown_with_their_current_state(service: SimulatedService) -> None:
    service.connect("1", "presence")
    watcher = service.connect("2", "presence")
    service.send(watcher, "sync")
    service.block("1", "2")
    service.deliver_all()
    service.publish("status_change", {"user_id": "1", "is_busy": True})
    service.deliver_all()
    service.block("1", "2", is_blocked=False)
    service.deliver_all()
    service.settle()
    check_all(service)


def test_sync_right_after_a_block_does_not_show_the_blocker(service: SimulatedService) -> None:
    service.connect("1", "presence")
    watcher = service.connect("2", "presence")
    service.deliver_all()
    service.block("1", "2")
    service.deliver_all()
    service.send(watcher, "sync")


def test_sync_right_after_an_unblock_shows_the_former_blocker(service: SimulatedService) -> None:
    watcher = service.connect("2", "presence")
    service.block("1", "2")
    service.deliver_all()
    service.connect("1", "presence")
    service.deliver_all()
    service.block("1", "2", is_blocked=False)
    service.deliver_all()
    service.send(watcher, "sync")
    service.settle()
    check_all(service)


def test_a_user_with_many_blocks_is_hidden_from_all_of_them_and_shown_to_whom_they_unblock(
    service: SimulatedService,
) -> None:
    watchers = [service.connect(each, "presence") for each in ("2", "zoe")]
    watchers.append(service.connect("zoe", "live", watch=["1"]))
    for user_id in ("nobody", "2", "zoe"):  # the first alone has room in the item
        service.block("1", user_id)
    service.connect("1", "calls")
    service.deliver_all()
    assert [watcher.client.view.get("1") for watcher in watchers] == [None] * 3
    for watcher in watchers:
        service.send(watcher, "sync")
    service.block("1", "zoe", is_blocked=False)
    service.deliver_all()
    service.settle()
    check_all(service)
    assert ["1" in watcher.client.view for watcher in watchers] == [False, True, True]


@pytest.mark.parametrize(
    "seconds", [0, 120]
)  # before the snapshot; the outbox's last minute does not include older entries
def test_a_late_message_does_not_bring_back_a_user_whom_a_snapshot_left_out(
    service: SimulatedService, seconds: int
) -> None:
    watcher = service.connect("2", "presence")
    socket = service.connect("1", "presence")
    service.announce(list(service.user_records))
    late = list(service.event_records)
    service.close(socket)
    service.disconnect(socket)
    service.announce(list(service.user_records))
    service.pass_time(GRACE + 1)
    service.check(service.due_checks())
    service.announce(list(service.user_records))
    service.broadcast([record for record in service.event_records if record not in late])
    service.pass_time(seconds)
    service.send(watcher, "sync")
    service.settle()
    check_all(service)


def test_watching_on_feed_shows_only_listeners(service: SimulatedService) -> None:
    watcher = service.connect("2", "feed")
    other = service.connect("zoe", "calls")
    service.send(watcher, "watch", ["zoe"])
    service.close(other)
    service.settle()
    check_all(service)


def test_a_user_who_becomes_a_listener_while_connected_is_announced_on_feed(service: SimulatedService) -> None:
    watcher = service.connect("2", "feed", role="listener")
    service.send(watcher, "sync")
    service.connect("1", "calls")
    service.deliver_all()
    service.connect("1", "calls", role="listener")
    service.settle()
    check_all(service)


def test_a_post_before_the_end_of_a_handshake_does_not_forget_the_connection(service: SimulatedService) -> None:
    service.connect("2", "presence", trouble=Trouble("meanwhile", 5, ("deliver",)))
    service.settle()
    check_all(service)


def test_a_connection_that_two_functions_find_gone_leaves_once(service: SimulatedService) -> None:
    socket = service.connect("1", "presence")
    service.pass_time(60)
    service.close(socket)
    service.publish("status_change", {"user_id": "1", "is_busy": True})
    service.disconnect(socket, Trouble("meanwhile", 1, ("deliver",)))
    service.settle()
    check_all(service)
