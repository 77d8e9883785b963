"""Clients of AWS services, each made when it is first used, and the translation of their errors.

They are botocore's, not boto3's: the same clients, for a quarter less CPU at a cold start (docs/decisions/0002).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import botocore
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.loaders import Loader

from realtime.aws import retries
from realtime.errors import ConfigurationError, Rejected, Unavailable

if TYPE_CHECKING:
    from realtime.posting.signing import FrozenCredentials

# botocore would make its own from the system and its settings for each call, which is a tenth of a call's CPU time.
_AGENT = f"listener-realtime Botocore/{botocore.__version__}"

# A call that hangs must not use up the function's time: API Gateway waits 29 s, a stream's shard waits for its batch.
_CONFIG = Config(
    connect_timeout=retries.CONNECT_SECONDS,
    read_timeout=retries.ANSWER_SECONDS,
    retries={"mode": "standard", "total_max_attempts": 1},  # retries.py tries again; two mechanisms would multiply
    tcp_keepalive=True,
    user_agent=_AGENT,
)

# Token keys are read while a client waits, and `cached_keys` has its own way to try again.
_STORES_OF_KEYS = frozenset({"secretsmanager", "ssm"})
_PROMPT = Config(
    connect_timeout=0.5, read_timeout=0.75, retries={"mode": "standard", "total_max_attempts": 1}, user_agent=_AGENT
)

# Copies of botocore's descriptions of services, with only the operations that we call: `make lock` makes them.
_DESCRIPTIONS = str(Path(__file__).with_name("descriptions"))

# The answers that may contain a megabyte of items.
_PAGES = ("before-parse.dynamodb.Query", "before-parse.dynamodb.Scan")

# Codes of errors that an operator must mend: a right or a resource is missing.
_OPERATORS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AWS.SimpleQueueService.NonExistentQueue",
        "ParameterNotFound",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)

# Codes of errors of a customer's KMS key, which is missing, disabled or closed to the caller, and the setting that
# names the key. SQS's have two names: in answers to botocore, and in its description.
_KEYS = {
    **dict.fromkeys(
        (
            "KMS.AccessDeniedException",
            "KMS.DisabledException",
            "KMS.InvalidKeyUsageException",
            "KMS.InvalidStateException",
            "KMS.NotFoundException",
            "KMS.OptInRequired",
            "KmsAccessDenied",
            "KmsDisabled",
            "KmsInvalidKeyUsage",
            "KmsInvalidState",
            "KmsNotFound",
            "KmsOptInRequired",
        ),
        "KmsKeyArn",
    ),
    "DecryptionFailure": "TokenKeysKmsKeyArn",  # Secrets Manager
    "InvalidKeyId": "TokenKeysKmsKeyArn",  # Parameter Store
}

# Codes of requests that would fail every time: an item is too large, for example.
_REJECTIONS = frozenset(
    {
        "AWS.SimpleQueueService.InvalidMessageContents",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "ItemCollectionSizeLimitExceeded",
        "ItemCollectionSizeLimitExceededException",
        "SerializationException",
        "ValidationError",
        "ValidationException",
    }
)


@cache
def session() -> botocore.session.Session:
    """Return the one botocore session, which holds the function's credentials too."""
    created = botocore.session.get_session()
    created.register_component("data_loader", _Loader(extra_search_paths=[_DESCRIPTIONS]))
    return created


@cache
def client(service: str) -> Any:
    """Return the one client of an AWS service, by botocore's name for it."""
    if service in _STORES_OF_KEYS:
        return session().create_client(service, config=_PROMPT)
    created = session().create_client(service, config=_CONFIG)
    retries.install(created)
    if service == "dynamodb":
        for page in _PAGES:
            created.meta.events.register(page, read_page)
    return created


class _Loader(Loader):
    """Load lean descriptions of services, without searching all 400 of botocore's (docs/decisions/0015)."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002  # botocore passes it
        """Return the names of all services: each has a folder."""
        folders = (Path(path) for path in self.search_paths)
        return [service.name for folder in folders if folder.is_dir() for service in folder.iterdir()]


def read_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Read a page of items in place of botocore, which would visit each attribute value (an event hook).

    Without binary values, of which our tables have none, botocore returns DynamoDB's JSON as it is.
    """
    if response_dict["status_code"] != 200:
        return
    try:
        page = json.loads(response_dict["body"])
    except ValueError:
        return  # botocore finds the same, and raises its own error
    customized_response_dict.update(page)
    response_dict["body"] = b"{}"


def region() -> str:
    """Return the Region that the function runs in.

    Raises ConfigurationError if none is set.
    """
    name = session().get_config_variable("region")
    if not name:
        raise ConfigurationError("AWS_DEFAULT_REGION is not set")  # botocore does not read AWS_REGION
    return str(name)


def frozen_credentials() -> FrozenCredentials:
    """Return the function's current credentials; botocore renews them shortly before they expire.

    Raises ConfigurationError if there are none.
    """
    credentials = session().get_credentials()
    if credentials is None:
        raise ConfigurationError("the function has no AWS credentials")
    return cast("FrozenCredentials", credentials.get_frozen_credentials())


def error_code(error: ClientError) -> str:
    """Return AWS's code of an error, such as `ConditionalCheckFailedException`."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def translate(error: ClientError | BotoCoreError, doing: str) -> ConfigurationError | Unavailable | Rejected:
    """Turn an AWS error into ours: ConfigurationError for the operator, Rejected for the sender of a wrong request.

    All others may pass: Unavailable.
    """
    if isinstance(error, ParamValidationError):
        return Rejected(f"{doing}: {type(error).__name__}")
    if not isinstance(error, ClientError):
        return Unavailable(f"{doing}: {type(error).__name__}")
    return refusal(error_code(error), doing, error.response.get("Error", {}).get("Message", ""))


def refusal(code: str, doing: str, message: str = "") -> ConfigurationError | Unavailable | Rejected:
    """Return the error for one of AWS's codes: of a call, of a part of a batch or transaction."""
    if code in _OPERATORS:
        return ConfigurationError(f"{doing}: {code}: {message}")
    if code in _KEYS:
        return ConfigurationError(f"{doing}: {code} (the key is {_KEYS[code]}): {message}")
    return Rejected(f"{doing}: {code}") if code in _REJECTIONS else Unavailable(f"{doing}: {code}")


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Translate errors of AWS to ConfigurationError, Unavailable or Rejected, whose messages begin with `doing`."""
    try:
        yield
    except UnicodeEncodeError as error:  # half of a surrogate pair: botocore cannot encode the request
        raise Rejected(f"{doing}: a text that UTF-8 cannot encode") from error
    except (ClientError, BotoCoreError) as error:
        raise translate(error, doing) from error
