from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from realtime.aws import clients, retries
from realtime.aws.retries import ATTEMPT_SECONDS, ATTEMPTS, LONGEST_CALL_SECONDS, RETRY_SECONDS, Passing
from tests.logs import LogLines
from tests.unit.fakes import Clock

TIMED_OUT = ReadTimeoutError(endpoint_url="https://dynamodb")
UPDATE: dict[str, Any] = {"TableName": "Users", "Key": {"user_id": {"S": "1"}}}
TRANSACTION: dict[str, Any] = {"TransactItems": [{"Update": {**UPDATE, "UpdateExpression": "SET a = :a"}}]}
# s; the timeout of `connect`, `disconnect` and `default`
FUNCTION_SECONDS = 10


class Session:
    """Replaces botocore's HTTP session: gives these answers one after another, and then the last one for ever."""

    def __init__(self, clock: Clock, *answers: tuple[int, dict[str, Any]] | Exception, seconds: float = 0.0) -> None:
        self._clock = clock
        self._answers = list(answers)
        self._seconds = seconds
        self.sent: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.sent)

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        assert isinstance(request.body, bytes)
        self.sent.append(json.loads(request.body))
        self._clock.now += self._seconds
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        headers: Any = HeadersDict()
        return AWSResponse("", status, headers, Raw(json.dumps(body).encode()))


class Raw:
    """The object from which botocore reads an answer's body."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._body


def refusal(code: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return 400, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more}


def cancelled(*reasons: str) -> tuple[int, dict[str, Any]]:
    return refusal("TransactionCanceledException", CancellationReasons=[{"Code": reason} for reason in reasons])


CONFLICT = refusal("TransactionConflictException")
DONE: tuple[int, dict[str, Any]] = (200, {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr("time.sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    return clock


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    clients.session.cache_clear()
    clients.client.cache_clear()
    yield clients.client("dynamodb")
    clients.session.cache_clear()
    clients.client.cache_clear()


def answering(
    client: Any, clock: Clock, *answers: tuple[int, dict[str, Any]] | Exception, seconds: float = 0.0
) -> Session:
    client._endpoint.http_session = session = Session(clock, *answers, seconds=seconds)
    return session


def test_a_single_write_that_meets_a_transaction_is_made_again_within_50_ms(dynamodb: Any, clock: Clock) -> None:
    session = answering(dynamodb, clock, CONFLICT, DONE)
    dynamodb.update_item(**UPDATE)
    assert len(session) == 2
    assert 0.005 <= clock.now - 1000 <= 0.05


@pytest.mark.parametrize(
    "answer",
    [
        refusal("ProvisionedThroughputExceededException"),
        refusal("ThrottlingException"),
        refusal("RequestLimitExceeded"),
        refusal("LimitExceededException"),
        refusal("TransactionInProgressException"),
        (500, {"__type": "InternalServerError"}),
        (503, {}),
        (429, {}),
        TIMED_OUT,
        EndpointConnectionError(endpoint_url="https://dynamodb"),
    ],
    ids=str,
)
def test_a_failure_that_may_pass_is_tried_again(dynamodb: Any, clock: Clock, answer: Any) -> None:
    session = answering(dynamodb, clock, answer, answer, DONE)
    dynamodb.put_item(TableName="Events", Item={})
    assert len(session) == 3


@pytest.mark.parametrize(
    "code", ["ConditionalCheckFailedException", "ValidationException", "AccessDeniedException", "SomethingElse"]
)
def test_a_failure_that_will_not_pass_is_not_tried_again(dynamodb: Any, clock: Clock, code: str) -> None:
    session = answering(dynamodb, clock, refusal(code), DONE)
    with pytest.raises(ClientError, match=code):
        dynamodb.update_item(**UPDATE)
    assert len(session) == 1


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_cancelled_transaction_is_tried_again_under_a_new_token(dynamodb: Any, clock: Clock, code: str) -> None:
    session = answering(dynamodb, clock, cancelled("None", code), DONE)
    dynamodb.transact_write_items(**TRANSACTION)
    first, second = session.sent
    assert first.pop("ClientRequestToken") != second["ClientRequestToken"]
    assert re.fullmatch("[0-9a-f]{32}", second.pop("ClientRequestToken"))
    assert first == second


def test_a_transaction_whose_answer_was_lost_is_tried_again_under_its_token(dynamodb: Any, clock: Clock) -> None:
    session = answering(dynamodb, clock, TIMED_OUT, (500, {"__type": "InternalServerError"}), DONE)
    dynamodb.transact_write_items(**TRANSACTION)
    assert len({each["ClientRequestToken"] for each in session.sent}) == 1
    assert len(session) == 3


@pytest.mark.parametrize(
    "reasons", [("ConditionalCheckFailed", "TransactionConflict"), ("None", "ValidationError"), ("None", "None")]
)
def test_a_transaction_with_a_failed_condition_is_not_tried_again(
    dynamodb: Any, clock: Clock, reasons: tuple[str, ...]
) -> None:
    session = answering(dynamodb, clock, cancelled(*reasons), DONE)
    with pytest.raises(ClientError):
        dynamodb.transact_write_items(**TRANSACTION)
    assert len(session) == 1


@pytest.mark.parametrize("answer", [CONFLICT, refusal("ThrottlingException"), (500, {}), TIMED_OUT], ids=str)
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.5, 2.0, ATTEMPT_SECONDS])  # that an attempt takes
def test_every_call_ends_in_time_for_its_function_to_answer(
    dynamodb: Any, clock: Clock, answer: Any, seconds: float
) -> None:
    for _ in range(3):
        began = clock.now
        session = answering(dynamodb, clock, answer, seconds=seconds)
        with pytest.raises((ClientError, ReadTimeoutError)):
            dynamodb.update_item(**UPDATE)
        assert clock.now - began <= RETRY_SECONDS + seconds <= LONGEST_CALL_SECONDS < FUNCTION_SECONDS
        assert 1 < len(session) <= ATTEMPTS


def test_no_attempt_takes_longer_than_planned(dynamodb: Any) -> None:
    config = dynamodb.meta.config
    assert config.connect_timeout + config.read_timeout == ATTEMPT_SECONDS


def test_each_pause_is_random_and_the_longest_grows() -> None:
    many = [retries.Tries() for _ in range(200)]
    longest = [max(each.pause(Passing.THROTTLED) or 0 for each in many) for _ in range(5)]
    assert longest == sorted(longest)
    assert 0.09 < longest[0] <= 0.1
    assert 0.7 < longest[3] <= 0.8
    shortest = min(retries.Tries().pause(Passing.THROTTLED) or 0 for _ in range(500))
    assert shortest < 0.01


class Context:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


@pytest.mark.parametrize(("left", "attempts"), [(1.0, 1), (ATTEMPT_SECONDS + 0.4, 1), (ATTEMPT_SECONDS + 0.7, 2)])
def test_a_retry_that_may_outlast_the_function_is_not_made(
    dynamodb: Any, clock: Clock, left: float, attempts: int
) -> None:
    session = answering(dynamodb, clock, CONFLICT, DONE)

    @retries.in_time
    def handler(event: dict[str, Any], context: Any) -> str:
        try:
            dynamodb.update_item(**UPDATE)
        except ClientError:
            return "gave up"
        return "done"

    assert handler({}, Context(left)) == ("done" if attempts == 2 else "gave up")
    assert len(session) == attempts
    assert retries.latest() == float("inf")


def test_several_calls_in_rounds_have_the_time_of_one(dynamodb: Any, clock: Clock) -> None:
    session = answering(dynamodb, clock, CONFLICT, DONE)
    with retries.rounds():
        clock.now += RETRY_SECONDS
        with pytest.raises(ClientError):
            dynamodb.update_item(**UPDATE)
    assert len(session) == 1


def test_progress_postpones_giving_up_but_not_for_ever(clock: Clock) -> None:
    tries, began, count = retries.Tries(), clock.now, 0
    while tries.wait(Passing.CONFLICT, progress=True):
        count += 1
    assert count > ATTEMPTS
    assert clock.now - began <= RETRY_SECONDS


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        ("dynamodb", "scan", {"TableName": "Users"}),
        ("sqs", "change_message_visibility", {"QueueUrl": "q", "ReceiptHandle": "r", "VisibilityTimeout": 1}),
        ("events", "put_events", {"Entries": [{"Detail": "{}"}]}),
    ],
)
def test_every_client_follows_these_rules_and_not_botocores(
    dynamodb: Any, clock: Clock, service: str, operation: str, request_: dict[str, Any]
) -> None:
    client = clients.client(service)
    assert client.meta.config.retries["total_max_attempts"] == 1
    session = answering(client, clock, refusal("ThrottlingException"), DONE)
    getattr(client, operation)(**request_)
    assert len(session) == 2
    assert clock.now - 1000 <= 0.1


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        ("ssm", "get_parameter", {"Name": "/keys"}),
        ("secretsmanager", "get_secret_value", {"SecretId": "keys"}),
    ],
)
def test_a_store_of_token_keys_is_asked_once(
    dynamodb: Any, clock: Clock, service: str, operation: str, request_: dict[str, Any]
) -> None:
    client = clients.client(service)
    session = answering(client, clock, refusal("ThrottlingException"), DONE)
    with pytest.raises(ClientError, match="ThrottlingException"):
        getattr(client, operation)(**request_)
    assert len(session) == 1


def test_every_failure_that_botocore_would_retry_is_retried() -> None:
    throttled: Any = ThrottledRetryableChecker
    transient: Any = TransientRetryableChecker
    codes = {*throttled._THROTTLED_ERROR_CODES, *transient._TRANSIENT_ERROR_CODES} - {"EC2ThrottledException"}
    for code in codes:
        assert retries.passing({"Error": {"Code": code}}, 400, None), code
    for status in transient._TRANSIENT_STATUS_CODES:
        assert retries.passing({}, status, None) is Passing.FAILED


def test_an_exception_of_a_function_is_logged_with_a_level_and_a_time(logged: LogLines) -> None:
    @retries.in_time
    def handler(event: dict[str, Any], context: Any) -> None:
        raise ZeroDivisionError("a token")

    with pytest.raises(ZeroDivisionError):
        handler({}, Context(10))
    (line,) = logged.lines
    assert (line["level"], line["message"]) == ("ERROR", "raised")
    assert line["reason"].startswith("ZeroDivisionError at test_retries.py:")
    assert "a token" not in logged.text
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    assert "T" in line["timestamp"]  # RFC 3339, or Lambda takes the line for INFO
