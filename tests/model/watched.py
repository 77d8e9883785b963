"""The simulated service with its metrics: a minute of its life at a time, and what can go wrong in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from realtime import log
from tests.model.gateway import Socket
from tests.model.runtime import Failed
from tests.model.service import SETTINGS, SimulatedService
from tests.support.cloudwatch import CloudWatch
from tests.support.strict_dynamodb import Chances

QUEUES = {
    SETTINGS["REJECTED_QUEUE_URL"]: "RejectedEventsQueue",
    SETTINGS["FAILURES_QUEUE_URL"]: "StreamFailuresQueue",
}
DEAD = {"deadlines": "DeadlinesDeadLetterQueue", "late": "LateDeadLetterQueue", "ingest": "FailedEventsQueue"}
RECEIVES = {"deadlines": 5, "late": 5, "ingest": 100}  # maxReceiveCount
OF_CLIENTS = ("connect", "disconnect", "default")
LANES = ("announce", "broadcast", "broadcast-wide")
CALL = {"user_id": 1, "listener_id": 2, "call_type": "audio", "status": "ongoing"}


class WatchedService:
    """The service, its clients and its backends, and what CloudWatch learns of them.

    The faults name functions: `broadcast-wide` is the one for events for everyone.
    """

    def __init__(self, service: SimulatedService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service
        self.cloudwatch = CloudWatch()
        self.crashing: set[str] = set()  # whose process ends, or whose time runs out
        self.without_right: set[str] = set()  # which DynamoDB refuses
        self.not_invoked: set[str] = set()  # whose mapping or schedule is off
        self.unreachable: set[str] = set()  # which API Gateway may not invoke
        self.is_throttled = False  # the account's concurrency is used up
        self.lag: dict[str, float] = {}  # s; a stream is handed to these functions so late
        self.slow_clients = False  # each minute another client that reads nothing
        self.dead: Counter[str] = Counter()  # messages in dead-letter queues
        self._sent_at: dict[str, float] = {}
        self._receives: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._running: list[str] = []
        self._call_id = 0
        self._invoke, self._call = service.runtime.invoke, service.runtime.call
        self._send = service.aws_send_message
        self._record = service._record
        for owner, name, ours in (
            (service.runtime, "invoke", self._invoke_watched),
            (service.runtime, "call", self._call_refused),
            (service, "aws_send_message", self._send_watched),
            (service, "_record", self._record_with_time),
            (service, "_lose", lambda _checks: None),  # see _bury
        ):
            monkeypatch.setattr(owner, name, ours)
        monkeypatch.setattr(service.dynamodb, "chances", Chances())  # no fault but those of a test
        monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "realtime/prod")
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "realtime")
        monkeypatch.setattr(log.logger()._logger, "disabled", False)

    # ---- a minute of life ------------------------------------------------------------------------------------------

    def live(self, minutes: int, *, busy: int | None = None) -> None:
        """Let minutes pass; in the first `busy` of them, or in all, something of everything happens."""
        for number in range(minutes):
            began = self.service.clock.now
            if busy is None or number < busy:
                self._act()
            self._deliver()
            self.service.pass_time(30)
            self._deliver()
            if "sweep" not in self.not_invoked:
                with contextlib.suppress(Failed):
                    self.service.sweep()
            self._report()
            self.service.clock.advance(began + 60 - self.service.clock.now)
            self.cloudwatch.end_minute()

    def _act(self) -> None:
        """Let clients and backends do something of everything."""
        service, minute = self.service, self.cloudwatch.minute
        self._call_id += 1
        user_id = str(minute % 4 + 1)
        for socket in service.open_sockets():
            service.send(socket, "ping")
        socket = service.connect(user_id, "calls", role="listener")
        others = [each for each in service.open_sockets() if each.user_id == user_id and each is not socket]
        for each in others[:1]:
            service.close(each)
        if minute % 2:
            service.close(service.connect(str(minute % 4 + 5), "presence"))
        if self.slow_clients and socket.state == "open":
            socket.posts_meet = 429
        self._publish("call_started", {**CALL, "call_id": self._call_id})
        self._publish("call_ended", {**CALL, "call_id": self._call_id, "status": "ended", "duration": 5})
        note = {"title": "t", "message": "m", "delivery": {"to": [user_id], "ack_within": 30}}
        self._publish("system_notification", note)

    def _publish(self, kind: str, detail: dict[str, Any]) -> None:
        self.service.publish(kind, detail, later=True)

    def _deliver(self) -> None:
        service = self.service
        for socket in list(service.disconnects):
            service.disconnect(socket)
        if "ingest" not in self.not_invoked:
            for event in list(service.backend_events):
                service.ingest(event)
        service.announce(list(self._due(service.user_records, "announce")))
        narrow = list(self._due([each for each in service.event_records if each["reach"] == "narrow"], "broadcast"))
        wide = list(self._due([each for each in service.event_records if each["reach"] == "wide"], "broadcast-wide"))
        service.broadcast([*narrow, *wide])
        if "deadlines" not in self.not_invoked:
            service.check(service.due_checks()[:10])
        service.farewell()
        service.late()

    def _due(self, records: list[dict[str, Any]], function: str) -> Iterator[dict[str, Any]]:
        until = self.service.clock.now - self.lag.get(function, 0.0)
        return (each for each in records if each["written_at"] <= until)

    def _report(self) -> None:
        """Tell CloudWatch what SQS tells it each minute."""
        service, now = self.service, self.service.clock.now
        for queue, count in self.dead.items():
            self.cloudwatch.put("AWS/SQS", "ApproximateNumberOfMessagesVisible", queue, count)
        for queue, since in (
            ("BackendEventsQueue", [self._sent_at.setdefault(each["id"], now) for each in service.backend_events]),
            # As if the delay counted, which nobody knows.
            ("DeadlinesQueue", [self._sent_at[each.message_id] for each in service.checks]),
        ):
            if since:
                self.cloudwatch.put("AWS/SQS", "ApproximateAgeOfOldestMessage", queue, now - min(since))

    # ---- what is watched ---------------------------------------------------------------------------------------------

    def _invoke_watched(self, function: str, event: dict[str, Any], trouble: Any = None) -> Any:
        name = "broadcast-wide" if function == "broadcast" and os.environ["REACH"] == "wide" else function
        resource = f"{name.title().replace('-', '')}Function"
        if name in self.unreachable:
            self.cloudwatch.put("AWS/ApiGateway", "ExecutionError", "Api", 1)
            raise Failed
        if self.is_throttled:
            self.cloudwatch.put("AWS/Lambda", "Throttles", None, 1)
            raise Failed
        if name in LANES:
            age_s = self.service.clock.now - min(each["written_at"] for each in event["Records"])
            self.cloudwatch.put("AWS/Lambda", "IteratorAge", resource, age_s * 1000)
        self.cloudwatch.put("AWS/Lambda", "Invocations", resource, 1)
        failed: Exception | None = None
        self._running.append(name)
        try:
            with self._written_to(resource.removesuffix("Function") + "Log"):
                if name in self.crashing:
                    raise Failed
                answer = self._invoke(function, event, trouble)
        except Exception as error:  # noqa: BLE001  # whatever a function raises
            failed = error
        finally:
            self._running.pop()
        if name in DEAD:
            self._bury(name, event, None if failed else answer)
        if failed is not None:
            self.cloudwatch.put("AWS/Lambda", "Errors", resource, 1)
            raise Failed from failed
        return answer

    @contextlib.contextmanager
    def _written_to(self, name: str) -> Iterator[None]:
        handler: Any = log.logger().registered_handler
        printed = io.StringIO()
        before, handler.stream = handler.stream, printed
        try:
            with contextlib.redirect_stdout(printed):
                yield
        finally:
            handler.stream = before
            self.cloudwatch.log(name, printed.getvalue())

    def _bury(self, function: str, event: dict[str, Any], answer: dict[str, Any] | None) -> None:
        """Move the messages that were received too often to their dead-letter queue."""
        received = [each["messageId"] for each in event["Records"]]
        if function == "ingest":  # whose queue the simulator has as events
            received = [json.loads(each["body"])["id"] for each in event["Records"]]
        failures = received if answer is None else [each["itemIdentifier"] for each in answer["batchItemFailures"]]
        if function == "ingest" and failures:
            failures = received
        service = self.service
        for each in failures:
            self._receives[function][each] += 1
            if self._receives[function][each] == RECEIVES[function]:
                self.dead[DEAD[function]] += 1
                service.checks = [one for one in service.checks if one.message_id != each]
                service.late_messages = [one for one in service.late_messages if one.message_id != each]
                service.backend_events = [one for one in service.backend_events if one["id"] != each]

    def _call_refused(self, name: str, perform: Callable[[], Any]) -> Any:
        if self._running[-1] in self.without_right:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, name)
        return self._call(name, perform)

    def _send_watched(self, request: dict[str, Any]) -> dict[str, Any]:
        if queue := QUEUES.get(request["QueueUrl"]):
            self.dead[queue] += 1
            return {"MessageId": "dead"}
        answer = self._send(request)
        self._sent_at[answer["MessageId"]] = self.service.clock.now
        return answer

    def _record_with_time(self, *given: Any) -> dict[str, Any]:
        return {**self._record(*given), "written_at": self.service.clock.now}


def refuse_a_client(watched: WatchedService) -> Socket:
    """Let a client come with a token that was revoked: it is let in, told so in a farewell and sent away."""
    service = watched.service
    service.publish("session_revoked", {"user_id": "9"})
    return service.connect("9", "calls", token_age=3600)
