from __future__ import annotations

from collections.abc import Iterator

import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from realtime.aws import clients, retries
from realtime.aws.retries import Passing
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


def answered(name: str) -> str:
    """Return the code by which SQS answers an error, as its description in Smithy has it (`awsQueryError`)."""
    code = {"KmsThrottled": "ThrottlingException", "KmsOptInRequired": "OptInRequired"}.get(name)
    return f"KMS.{code or name.removeprefix('Kms') + 'Exception'}"


@pytest.mark.parametrize(
    ("service", "shown"),
    [("sqs", "KmsKeyArn"), ("secretsmanager", "TokenKeysKmsKeyArn"), ("ssm", "TokenKeysKmsKeyArn")],
)
def test_each_error_of_a_customers_key_names_the_setting_or_may_pass(service: str, shown: str) -> None:
    model = botocore.session.get_session().get_service_model(service)
    names = {"secretsmanager": ["DecryptionFailure"], "ssm": ["InvalidKeyId"]}.get(service)
    names = names or [each for each in model.shape_names if each.startswith("Kms")]
    assert set(names) <= set(model.shape_names)
    assert names
    for code in [*names, *(answered(each) for each in names if service == "sqs")]:
        error = clients.translate(aws_error(code), "reading")
        if "Thrott" in code:
            assert isinstance(error, Unavailable)
            assert retries.passing({"Error": {"Code": code}}, 400, None) is Passing.THROTTLED
        else:
            assert isinstance(error, ConfigurationError)
            assert str(error) == f"reading: {code} (the key is {shown}): {code} happened"


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
