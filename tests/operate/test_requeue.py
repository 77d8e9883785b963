"""`realtime redrive` for events of backends: from the queues that keep failed events back to the queue of `ingest`."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from operate.redrive import receive_all
from operate.requeue import requeue
from tests.samples import backend_event


class Queues:
    """SQS with two queues; a received message is hidden until it is made visible again."""

    def __init__(self, *bodies: str) -> None:
        self.bodies: dict[str, list[str]] = {"kept": list(bodies), "ingest": []}
        self.hidden: set[str] = set()
        self.bounces = False

    def receive_message(self, **request: Any) -> dict[str, Any]:
        url = request["QueueUrl"]
        shown = [body for body in self.bodies[url] if body not in self.hidden][:10]
        self.hidden |= set(shown)
        return {"Messages": [{"ReceiptHandle": body, "Body": body} for body in shown]}

    def send_message(self, **request: Any) -> None:
        self.bodies[request["QueueUrl"]].append(request["MessageBody"])
        if self.bounces:
            self.bodies["kept"].append(request["MessageBody"] + " ")

    def delete_message(self, **request: Any) -> None:
        self.bodies[request["QueueUrl"]].remove(request["ReceiptHandle"])

    def change_message_visibility(self, **request: Any) -> None:
        assert request["VisibilityTimeout"] == 0
        self.hidden.discard(request["ReceiptHandle"])


def move(queues: Queues, *, dry_run: bool = False) -> list[str]:
    client: Any = queues
    (received,) = receive_all(client, "kept")
    return [step.text for step in requeue(client, "kept", received, "ingest", dry_run=dry_run)]


STARTED = json.dumps(backend_event("call_started"))
NAME = "call_started 8a2b457e-71f6-5e89-9a76-5eb46a7c1748 of 2024-01-15T10:30:00Z"


def test_events_go_back_as_they_were() -> None:
    queues = Queues(STARTED)
    assert move(queues) == [f"to be taken in again: {NAME}"]
    assert queues.bodies == {"kept": [], "ingest": [STARTED]}


def test_a_dry_run_lists_the_events_and_changes_nothing() -> None:
    queues = Queues(STARTED)
    assert move(queues, dry_run=True) == [f"would take in again: {NAME}"]
    assert queues.bodies == {"kept": [STARTED], "ingest": []}
    assert not queues.hidden


def test_more_events_than_one_receive_returns_all_go_back() -> None:
    queues = Queues(*(json.dumps({**backend_event("call_started"), "id": str(number)}) for number in range(25)))
    assert len(move(queues)) == 25
    assert len(queues.bodies["ingest"]) == 25


def test_an_event_that_is_rejected_again_meanwhile_is_moved_only_once() -> None:
    queues = Queues(STARTED)
    queues.bounces = True
    assert len(move(queues)) == 1
    assert len(queues.bodies["kept"]) == 1


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", "[" * 2000])
def test_a_message_that_is_no_event_goes_back_too_and_is_reported_as_such(body: str) -> None:
    queues = Queues(body)
    assert move(queues) == ["to be taken in again: a message that is no event of EventBridge"]
    assert queues.bodies["ingest"] == [body]


def test_queues_are_read_at_once_for_each_empty_answer_takes_a_second() -> None:
    class Slow(Queues):
        """It answers when three receives wait for it."""

        waiting = threading.Barrier(3, timeout=30)

        def receive_message(self, **request: Any) -> dict[str, Any]:
            assert request["WaitTimeSeconds"] == 1
            self.waiting.wait()
            return {}

    client: Any = Slow()
    assert receive_all(client, "one", "two", "three") == [[], [], []]
