"""A straggler, later events for it and the late lane, interleaved at each call to AWS, with each kind of failure.

Whatever happens, what the client hears has no gap, in order; and in the end it has heard everything or is closed, so
that it comes back and resumes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.tables.dynamodb import plain
from tests.model.gateway import Socket
from tests.model.promises import check_connections, check_stragglers
from tests.model.runtime import Kind, Trouble
from tests.model.service import CONNECTIONS, HIDDEN_SECONDS, SimulatedService

CALLS = 3
MOST_CALLS_TO_AWS = 12  # of one invocation here


class Story:
    """One client, whose connection takes no frame while the first event is broadcast."""

    def __init__(self, service: SimulatedService, status: int) -> None:
        service.clear()
        self.service = service
        self.socket: Socket = service.connect("1", "calls")
        self.heard: list[int] = []
        self.socket.client.hear = self._hear  # type: ignore[method-assign]
        self.socket.posts_meet = status
        self._published = 0

    def _hear(self, frame: str) -> None:
        call_id = json.loads(frame)["data"]["call_id"]
        if call_id not in self.heard:  # a message may come twice, with one id
            self.heard.append(call_id)

    def publish(self) -> None:
        """Let a call of the user start; its record is in the stream."""
        self._published += 1
        detail = {"call_id": self._published, "user_id": "1", "listener_id": "2"}
        self.service.publish("call_started", {**detail, "call_type": "audio", "status": "ongoing"})

    def broadcast(self, trouble: Trouble | None = None) -> None:
        """Let the stream's records be broadcast: as one batch, again where it failed."""
        self.service.broadcast(list(self.service.event_records), trouble)
        while self.service.event_records:
            self.service.broadcast(list(self.service.event_records))

    def finish(self) -> None:
        """Let everything happen that is still to happen."""
        self.socket.posts_meet = None
        self.service.gateway.account.calm_down()
        self.service.deliver_all()
        while self.service.late_messages:
            self.service.pass_time(HIDDEN_SECONDS)
            self.service.late()
            self.service.deliver_all()

    def check(self) -> None:
        """Compare what the client heard with what was published."""
        published = list(range(1, self._published + 1))
        assert self.heard == published[: len(self.heard)], self.heard
        assert self.heard == published or self.socket.state == "closed", self.heard
        check_stragglers(self.service)
        check_connections(self.service)


def troubles(meanwhile: str) -> list[Trouble | None]:
    """Return each disturbance at each call of a function."""
    kinds: tuple[Kind, ...] = ("crash", "error", "lost answer", "meanwhile")
    return [None, *(Trouble(kind, after, (meanwhile,)) for kind in kinds for after in range(MOST_CALLS_TO_AWS))]


@pytest.mark.parametrize("trouble", troubles("late"), ids=str)
@pytest.mark.parametrize(("status", "reads_again"), [(429, True), (0, False)])
def test_falling_behind(service: SimulatedService, trouble: Trouble | None, status: int, reads_again: bool) -> None:
    story = Story(service, status)
    story.publish()
    story.broadcast(trouble)
    assert service.late_messages or story.socket.state == "closed"
    if reads_again:
        story.socket.posts_meet = None
        service.late()
        assert trouble or story.heard == [1]
    story.publish()
    story.broadcast()
    story.finish()
    story.check()


@pytest.mark.parametrize("trouble", troubles("late"), ids=str)
def test_missing_events_while_behind(service: SimulatedService, trouble: Trouble | None) -> None:
    story = Story(service, 429)
    story.publish()
    story.broadcast()
    story.socket.posts_meet = None
    story.publish()
    story.broadcast(trouble)
    story.publish()
    story.broadcast()
    story.finish()
    story.check()


@pytest.mark.parametrize("later", ["nothing", "before", "meanwhile"])
@pytest.mark.parametrize("trouble", troubles("deliver"), ids=str)
def test_the_late_lane(service: SimulatedService, trouble: Trouble | None, later: str) -> None:
    story = Story(service, 429)
    story.publish()
    story.broadcast()
    story.socket.posts_meet = None
    if later != "nothing":
        story.publish()
    if later == "before":
        story.broadcast()
    service.late(trouble, again=trouble is not None and trouble.after % 2 == 1)  # SQS may deliver twice
    for _ in range(2):
        story.publish()
        story.broadcast()
    story.finish()
    story.check()
    if trouble is None and later == "nothing":
        assert (story.heard, story.socket.state) == ([1, 2, 3], "open")


def test_a_straggler_that_can_be_neither_served_nor_closed_is_forgotten(
    service: SimulatedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(service, 429)
    request = service.gateway.request

    def refuse(method: str, connection_id: str, body: bytes) -> int:
        is_it = connection_id == story.socket.connection_id
        return 429 if is_it else request(method, connection_id, body)

    monkeypatch.setattr(service.gateway, "request", refuse)
    story.publish()
    story.broadcast()
    service.late()
    stored: list[Any] = [plain(row) for row in service.tables.all(CONNECTIONS)]
    assert stored == []
    monkeypatch.undo()
    story.finish()
    assert story.socket.state == "closed"
