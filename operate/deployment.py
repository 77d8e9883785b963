"""A deployed stack to work on: the embedded one, or one in the cloud."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from operate.errors import CommandError, StackNotDeployedError
from operate.logs import LogReader, log_groups
from operate.state import Running

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient


def new_access_key() -> tuple[str, str]:
    """Return a new access key id, in the form that AWS gives them, and its secret."""
    letters = string.ascii_uppercase + "234567"
    return "AKIA" + "".join(secrets.choice(letters) for _ in range(16)), secrets.token_urlsafe(30)


class Clients:
    """Makes clients of AWS services. It uses botocore because boto3 takes a quarter of a second more to load."""

    def __init__(self, session: botocore.session.Session, **arguments: Any) -> None:
        """Take a session, and what all clients are made with."""
        self._session, self._arguments = session, arguments
        self.region: str | None = arguments.get("region_name") or session.get_config_variable("region")

    @classmethod
    def emulated(cls, running: Running) -> Clients:
        """Return clients of the emulator, whatever credentials, profiles and proxies this machine has."""
        return cls(
            botocore.session.Session(session_vars={"profile": (None, None, None, None)}),
            endpoint_url=running.aws_endpoint_url,
            region_name=running.region,
            aws_access_key_id=running.access_key,
            aws_secret_access_key=running.secret_key,
            config=Config(proxies={}, retries={"max_attempts": 3}),
        )

    @classmethod
    def in_cloud(cls) -> Clients:
        """Return clients with this machine's credentials and Region."""
        return cls(botocore.session.get_session())

    def client(self, service: str, endpoint_url: str | None = None) -> Any:
        """Return a client of a service, by botocore's name for it, at another endpoint if one is given."""
        arguments = self._arguments | ({"endpoint_url": endpoint_url} if endpoint_url else {})
        return self._session.create_client(service, **arguments)

    def cloudformation(self) -> CloudFormationClient:
        """Return a client of CloudFormation."""
        return cast("CloudFormationClient", self._client("cloudformation"))

    def dynamodb(self) -> DynamoDBClient:
        """Return a client of DynamoDB."""
        return cast("DynamoDBClient", self._client("dynamodb"))

    def dynamodb_streams(self) -> Any:
        """Return a client of DynamoDB Streams, for which there are no type stubs."""
        return self._client("dynamodbstreams")

    def events(self) -> EventBridgeClient:
        """Return a client of EventBridge."""
        return cast("EventBridgeClient", self._client("events"))

    def functions(self) -> LambdaClient:
        """Return a client of Lambda."""
        return cast("LambdaClient", self._client("lambda"))

    def logs(self) -> CloudWatchLogsClient:
        """Return a client of CloudWatch Logs."""
        return cast("CloudWatchLogsClient", self._client("logs"))

    def s3(self) -> S3Client:
        """Return a client of S3."""
        return cast("S3Client", self._client("s3"))

    def secretsmanager(self) -> SecretsManagerClient:
        """Return a client of Secrets Manager."""
        return cast("SecretsManagerClient", self._client("secretsmanager"))

    def sqs(self) -> SQSClient:
        """Return a client of SQS."""
        return cast("SQSClient", self._client("sqs"))

    def ssm(self) -> SSMClient:
        """Return a client of Systems Manager."""
        return cast("SSMClient", self._client("ssm"))

    def _client(self, service: str) -> Any:
        return self.client(service)


def stack_outputs(clients: Clients, stack: str) -> dict[str, str]:
    """Return a stack's outputs by key.

    Raises:
        StackNotDeployedError: CloudFormation does not know it.
    """
    try:
        description = clients.cloudformation().describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # of a name alone: no such stack
            raise StackNotDeployedError(stack, str(clients.region)) from error
        raise
    return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}


@dataclass(frozen=True)
class Deployment:
    """A deployed stack, and how to reach it. `websocket_url` takes `/{endpoint}` after it."""

    clients: Clients
    stack: str
    websocket_url: str
    outputs: Mapping[str, str]
    is_embedded: bool = False

    @classmethod
    def embedded(cls, running: Running) -> Deployment:
        """Return the stack that runs on this machine."""
        return cls(Clients.emulated(running), running.stack, running.websocket_url, running.outputs, is_embedded=True)

    @classmethod
    def in_cloud(cls, stack: str) -> Deployment:
        """Return a stack in the account and Region of this machine's credentials.

        Raises:
            StackNotDeployedError: it is not there.
        """
        clients = Clients.in_cloud()
        outputs = stack_outputs(clients, stack)
        return cls(clients, stack, outputs["WebSocketUrl"].rstrip("/"), outputs)

    def token_keys(self) -> dict[str | None, str]:
        """Return the secrets that sign tokens, by key id. A single secret has None for its id."""
        place = self.outputs.get("TokenKeys")
        if place is None:
            raise CommandError("This stack has no secret that signs tokens: it accepts the keys of JwksUrl alone.")
        if place.startswith("arn:"):
            text = self.clients.secretsmanager().get_secret_value(SecretId=place)["SecretString"]
        else:
            text = self.clients.ssm().get_parameter(Name=place, WithDecryption=True)["Parameter"]["Value"]
        try:
            keys = json.loads(text)
        except json.JSONDecodeError:
            return {None: text}
        return keys if isinstance(keys, dict) else {None: text}

    def log_reader(self, since_ms: int = 0) -> LogReader:
        """Return a reader of the logs of all functions, from a time since 1970 on."""
        return LogReader(self.clients.logs(), log_groups(self.outputs), since_ms)

    def publish(self, detail_type: str, detail: str, source: str) -> str:
        """Put one event on the bus as a backend does, and return its id.

        Raises:
            CommandError: EventBridge refuses it.
        """
        entry = {"EventBusName": self.outputs["BusName"], "Source": source, "DetailType": detail_type, "Detail": detail}
        answer = self.clients.events().put_events(Entries=[entry])["Entries"][0]  # type: ignore[list-item]
        if "EventId" not in answer:
            raise CommandError(f"EventBridge refused the event: {answer['ErrorCode']}: {answer['ErrorMessage']}")
        return answer["EventId"]
