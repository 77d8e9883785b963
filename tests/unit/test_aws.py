from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from realtime.aws import clients
from realtime.errors import ConfigurationError, Rejected, Unavailable
from tests.unit.fakes import aws_error


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Return a function that changes the environment which a new session reads."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    clients.session.cache_clear()
    clients.client.cache_clear()
    yield monkeypatch
    clients.session.cache_clear()
    clients.client.cache_clear()


@pytest.mark.parametrize(
    "code",
    [
        "AccessDenied",
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ParameterNotFound",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    ],
)
def test_a_missing_right_or_resource_is_a_configuration_error(code: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^reading: {code}: {code} happened$"), clients.aws_errors("reading"):
        raise aws_error(code)


@pytest.mark.parametrize("code", ["ValidationException", "SerializationException", "InvalidMessageContents"])
def test_a_request_that_aws_never_takes_is_rejected(code: str) -> None:
    with pytest.raises(Rejected, match=rf"^reading: {code}$"), clients.aws_errors("reading"):
        raise aws_error(code)


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError"])
def test_other_errors_may_pass(code: str) -> None:
    with pytest.raises(Unavailable, match=rf"^reading: {code}$"), clients.aws_errors("reading"):
        raise aws_error(code)


@pytest.mark.parametrize("code", ["ValidationException", "InvalidMessageContents", "SerializationException"])
def test_a_request_at_fault_is_rejected(code: str) -> None:
    with pytest.raises(Rejected, match=rf"^writing: {code}$"), clients.aws_errors("writing"):
        raise aws_error(code)


def test_a_text_that_utf_8_cannot_encode_is_rejected() -> None:
    with pytest.raises(Rejected, match=r"^writing: "), clients.aws_errors("writing"):
        "\ud800".encode()


def test_a_missing_answer_may_pass() -> None:
    with pytest.raises(Unavailable, match=r"^reading: EndpointConnectionError$"), clients.aws_errors("reading"):
        raise EndpointConnectionError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")


def test_the_original_error_is_kept_as_the_cause() -> None:
    error = aws_error("ThrottlingException")
    with pytest.raises(Unavailable) as caught, clients.aws_errors("reading"):
        raise error
    assert caught.value.__cause__ is error


def test_other_exceptions_are_not_translated() -> None:
    with pytest.raises(KeyError), clients.aws_errors("reading"):
        raise KeyError("Item")


def test_an_error_without_a_code_is_unknown() -> None:
    error = aws_error("x")
    error.response = {}
    assert clients.error_code(error) == "Unknown"


def test_a_client_is_made_once(session: pytest.MonkeyPatch) -> None:
    session.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert clients.client("sqs") is clients.client("sqs")
    assert clients.client("sqs") is not clients.client("events")


def test_the_region_is_the_functions(session: pytest.MonkeyPatch) -> None:
    session.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert clients.region() == "eu-central-1"


def test_a_function_without_region_or_credentials_says_so(session: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="AWS_DEFAULT_REGION is not set"):
        clients.region()
    with pytest.raises(ConfigurationError, match="the function has no AWS credentials"):
        clients.frozen_credentials()


def test_credentials_are_those_of_the_role(session: pytest.MonkeyPatch) -> None:
    session.setenv("AWS_ACCESS_KEY_ID", "key")
    session.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    session.setenv("AWS_SESSION_TOKEN", "token")
    found = clients.frozen_credentials()
    assert (found.access_key, found.secret_key, found.token) == ("key", "secret", "token")


def test_missing_credentials_in_a_call_are_a_temporary_error() -> None:
    with pytest.raises(Unavailable, match=r"^reading: NoCredentialsError$"), clients.aws_errors("reading"):
        raise NoCredentialsError
