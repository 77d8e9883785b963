"""Presence under all conditions: hypothesis generates histories, and at the end all promises must hold."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.model.gateway import Socket
from tests.model.promises import ONLINE_TYPES, check_all
from tests.model.runtime import Trouble
from tests.model.service import CALL_LEASE, GRACE, LEASE, SLACK, SimulatedService

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "80"))
SEED = int(os.environ.get("MODEL_SEED", "0"))  # other seeds, other histories
STEPS = 30
PARTS = 4  # so that several processors can share the work

USERS = ("1", "2", "zoe")
CALLS = {1: ("1", "2"), 2: ("2", "zoe")}

users = st.sampled_from(USERS)
pairs = st.sampled_from([("1", "2"), ("2", "zoe")])
roles = st.sampled_from(["listener", "listener", "client", None])
endpoints = st.sampled_from(["feed", "presence", "calls", "live"])
watched_endpoints = st.sampled_from(["feed", "presence", "live"])
flags = st.booleans()
groups = st.sampled_from([(), ("1",), ("2", "zoe"), ("1", "nobody")])
which = st.integers(0, 5)
calls = st.integers(0, 5)
meanwhiles = st.one_of(
    st.sampled_from([("deliver",), ("checks",), ("sweep",), ("late",), ("wait", GRACE + 1)]),
    st.tuples(st.just("connect"), users, endpoints),
    st.tuples(st.just("close"), which),
    st.tuples(st.just("block"), pairs),
    st.tuples(st.just("revoke"), users),
)
troubles = st.one_of(
    st.none(),
    st.none(),
    st.builds(Trouble, st.sampled_from(["crash", "error", "lost answer"]), calls),
    st.builds(Trouble, st.just("meanwhile"), calls, meanwhiles),
)

# A post that comes before the handshake is done finds no connection.
handshake_troubles = st.one_of(troubles, st.just(Trouble("meanwhile", 5, ("deliver",))))


class Presence(RuleBasedStateMachine):
    """Histories of sockets, backends, streams, queues and time."""

    service: SimulatedService

    def __init__(self) -> None:
        super().__init__()
        self.service.clear()

    @initialize(
        somebody=users,
        watchers=st.lists(st.tuples(users, watched_endpoints), min_size=1, max_size=3),
        blocks=st.sets(pairs),
    )
    def begin(self, somebody: str, watchers: list[tuple[str, str]], blocks: set[tuple[str, str]]) -> None:
        """Begin with a connected user, others who watch, and some who block some of these."""
        self.service.connect(somebody, "calls", role="listener")
        for user_id, endpoint in watchers:
            self.service.send(self.service.connect(user_id, endpoint, role="listener"), "sync")
        for user_id, other in sorted(blocks):
            self.service.block(user_id, other)

    # ---- clients

    @rule(
        user_id=users,
        endpoint=endpoints,
        role=roles,
        token_age=st.sampled_from([0, 0, 5, 3600]),
        trouble=handshake_troubles,
    )
    def connect(self, user_id: str, endpoint: str, role: str | None, token_age: int, trouble: Trouble | None) -> None:
        self.service.connect(user_id, endpoint, role=role, token_age=token_age, trouble=trouble)

    @rule(
        user_id=users,
        endpoint=watched_endpoints,
        watch=groups,
        wants=st.sampled_from(["all", "online"]),
        batch=flags,
        lagging=flags,
    )
    def connect_and_sync(
        self, user_id: str, endpoint: str, watch: tuple[str, ...], wants: str, batch: bool, lagging: bool
    ) -> None:
        if lagging:
            self.service.freeze_reads()
        types = sorted(ONLINE_TYPES[endpoint]) if wants == "online" else ()
        socket = self.service.connect(user_id, endpoint, role="listener", watch=watch, types=types, batch=batch)
        self.service.send(socket, "sync")

    @rule(number=which, trouble=troubles)
    def sync(self, number: int, trouble: Trouble | None) -> None:
        if socket := pick(self.watchers(), number):
            self.service.send(socket, "sync", trouble=trouble)

    @rule(number=which, is_watched=flags, user_ids=groups.filter(bool), trouble=troubles)
    def watch(self, number: int, is_watched: bool, user_ids: tuple[str, ...], trouble: Trouble | None) -> None:
        if socket := pick(self.watchers(), number):
            self.service.send(socket, "watch" if is_watched else "unwatch", user_ids, trouble)

    @rule(number=which)
    def ping(self, number: int) -> None:
        if socket := pick(self.service.open_sockets(), number):
            self.service.send(socket, "ping")

    @rule(number=which, fate=st.sampled_from(["arrives", "is late", "is lost"]), trouble=troubles)
    def close(self, number: int, fate: str, trouble: Trouble | None) -> None:
        """Let a connection end; its $disconnect arrives, is late or is lost."""
        if socket := pick(self.service.open_sockets(), number):
            self.service.close(socket, lost=fate == "is lost")
            if fate == "arrives":
                self.service.disconnect(socket, trouble)

    @rule(number=which, trouble=troubles)
    def deliver_disconnect(self, number: int, trouble: Trouble | None) -> None:
        if socket := pick(self.service.disconnects, number):
            self.service.disconnect(socket, trouble)

    @rule(number=which, lost=flags)
    def leave(self, number: int, lost: bool) -> None:
        """Let a connection end, and deliver all its consequences, or all but the last step."""
        if socket := pick(self.service.open_sockets(), number):
            self.service.close(socket)
            self.service.deliver_all()
            self.service.pass_time(GRACE + 1)
            self.service.check(self.service.due_checks(), lost=lost)

    @rule(number=which, seconds=st.sampled_from([1, GRACE - 4, GRACE + 1]), times=st.integers(1, 2), stays=flags)
    def flap(self, number: int, seconds: int, times: int, stays: bool) -> None:
        """Let a client lose its network again and again."""
        socket = pick(self.service.open_sockets(), number)
        for at in range(times if socket else 0):
            self.service.close(socket)
            self.service.deliver_all()
            if at < times - 1 or stays:
                self.service.pass_time(seconds)
                socket = self.service.connect(socket.user_id, socket.endpoint)
        self.service.pass_time(seconds)
        self.service.check(self.service.due_checks())

    # ---- backends

    @rule(call_id=st.sampled_from(sorted(CALLS)), kind=st.sampled_from(["call_started", "call_ended"]), later=flags)
    def call(self, call_id: int, kind: str, later: bool) -> None:
        caller, listener = CALLS[call_id]
        detail = {"call_id": call_id, "user_id": caller, "listener_id": listener}
        self.service.publish(kind, {**detail, "call_type": "audio", "status": "ongoing"}, later=later)

    @rule(user_id=users, is_busy=flags, later=flags)
    def change_status(self, user_id: str, is_busy: bool, later: bool) -> None:
        self.service.publish("status_change", {"user_id": user_id, "is_busy": is_busy}, later=later)

    @rule(pair=pairs, again=flags, later=flags)
    def block_or_unblock(self, pair: tuple[str, str], again: bool, later: bool) -> None:
        user_id, other = pair
        is_blocked = other in self.service.truth.hidden_from[user_id]
        self.service.block(user_id, other, is_blocked=is_blocked == again, later=later)

    @rule(user_id=users, later=flags)
    def revoke_sessions(self, user_id: str, later: bool) -> None:
        self.service.publish("session_revoked", {"user_id": user_id}, later=later)

    @rule(number=which, again=flags, trouble=troubles)
    def ingest(self, number: int, again: bool, trouble: Trouble | None) -> None:
        if event := pick(self.service.backend_events + self.service.ingested, number):
            self.service.ingest(event, trouble, again=again)

    # ---- streams, queue, schedule and time

    @rule(count=st.integers(1, 8), again=flags, trouble=troubles)
    def announce(self, count: int, again: bool, trouble: Trouble | None) -> None:
        self.service.announce(self.service.user_records[:count], trouble, again=again)

    @rule(number=which)
    def announce_again(self, number: int) -> None:
        if record := pick(self.service.announced, number):
            self.service.announce([record])

    @rule(first=st.integers(0, 8), count=st.integers(1, 12), again=flags, trouble=troubles)
    def broadcast(self, first: int, count: int, again: bool, trouble: Trouble | None) -> None:
        self.service.broadcast(self.service.event_records[first : first + count], trouble, again=again)

    @rule(number=which, again=flags, lost=flags, trouble=troubles)
    def check(self, number: int, again: bool, lost: bool, trouble: Trouble | None) -> None:
        if check := pick(self.service.due_checks(), number):
            self.service.check([check], trouble, again=again, lost=lost)

    @rule(trouble=troubles, again=flags)
    def late(self, trouble: Trouble | None, again: bool) -> None:
        self.service.late(trouble, again=again)

    @rule(number=which, status=st.sampled_from([429, 0, None]))
    def stop_or_go_on_reading(self, number: int, status: int | None) -> None:
        """Let a client read nothing, so that posts to it fail, or read again."""
        if socket := pick(self.service.open_sockets(), number):
            socket.posts_meet = status

    @rule(trouble=troubles)
    def sweep(self, trouble: Trouble | None) -> None:
        self.service.sweep(trouble)

    @rule(share=st.sampled_from([0.5, 0.95, 1.0]), seconds=st.sampled_from([0.2, 2, 20]))
    def others_use_the_account(self, share: float, seconds: float) -> None:
        """Let other APIs of the account take most of its requests, or all."""
        self.service.gateway.account.others_take(share, seconds)

    @rule(lagging=flags)
    def deliver_all(self, lagging: bool) -> None:
        if lagging:
            self.service.freeze_reads()
        self.service.deliver_all()

    @rule(
        seconds=st.sampled_from([1, GRACE + 1, GRACE + 1, 70, GRACE + SLACK + 1, LEASE + 1, CALL_LEASE + 1]),
        lost=flags,
        lagging=flags,
    )
    def pass_time(self, seconds: int, lost: bool, lagging: bool) -> None:
        self.service.pass_time(seconds, lost=lost)
        if lagging:
            self.service.freeze_reads()

    def watchers(self) -> list[Socket]:
        return [socket for socket in self.service.open_sockets() if socket.endpoint in ONLINE_TYPES]

    # ---- the end

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return  # a step has failed already
        self.service.settle()
        check_all(self.service)
        self.service.pass_time(3 * CALL_LEASE, lost=True)
        self.service.settle()
        check_all(self.service)


def pick(values: list[Any], number: int) -> Any:
    """Return one of the values, or None where there are none."""
    return values[number % len(values)] if values else None


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(SEED, SEED + PARTS))
def test_presence_is_right_in_the_end_and_no_client_heard_anything_wrong(
    service: SimulatedService, number: int
) -> None:
    machine = type("Presence", (Presence,), {"service": service})
    profile = settings(
        max_examples=EXAMPLES // PARTS,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        database=None,
        print_blob=False,
    )
    run_state_machine_as_test(seed(number)(machine), settings=profile)
