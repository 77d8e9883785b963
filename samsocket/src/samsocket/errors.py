"""The errors of the gateway.

GatewayError
├── StartError                    ends the command; its text is what is printed
│   ├── AddressInUseError
│   ├── EmulatorUnreachableError
│   ├── StackNotFoundError
│   ├── StepFailedError
│   ├── ServiceEndedError
│   └── TemplateError
│       ├── NoWebSocketApiError
│       ├── AmbiguousApiError
│       └── UnresolvedError
├── IntegrationError              a route's backend gave no usable answer; carries the handshake's status
│   ├── FunctionFailedError       502
│   ├── FunctionUnavailableError  500
│   ├── BrokenIntegrationError    500
│   │   └── TemplateFailedError
│   ├── UnsupportedMediaError     415
│   └── IntegrationTimeoutError   504
├── RefusedError                  a client may not connect; carries the handshake's status
├── NoVerdictError                the emulator does not say what a caller may do
└── DeliveryError                 a management request cannot be carried out
    ├── GoneError
    ├── MalformedIdError
    ├── BufferFullError
    └── TooLargeError
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class GatewayError(Exception):
    """Base of all."""


class StartError(GatewayError):
    """The gateway cannot start."""


class AddressInUseError(StartError):
    """Another process listens on the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.host, self.port = host, port

    def __str__(self) -> str:
        return f"port {self.port} on {self.host} is taken: stop what listens there, or choose another with --port"


class EmulatorUnreachableError(StartError):
    """Nothing answers at the endpoint URL."""

    def __init__(self, endpoint_url: str) -> None:
        super().__init__(endpoint_url)
        self.endpoint_url = endpoint_url

    def __str__(self) -> str:
        return f"no AWS endpoint answers at {self.endpoint_url}: start the emulator first"


class StackNotFoundError(StartError):
    """CloudFormation knows no such stack."""

    def __init__(self, stack: str, endpoint_url: str) -> None:
        super().__init__(stack, endpoint_url)
        self.stack, self.endpoint_url = stack, endpoint_url

    def __str__(self) -> str:
        return f"stack {self.stack} is not deployed at {self.endpoint_url}: run sam deploy first"


class StepFailedError(StartError):
    """A command that prepares the stack exited with an error."""

    def __init__(self, step: str, code: int, log: Path, tail: str) -> None:
        """Name the step, its exit code, its log, and that log's last lines."""
        super().__init__(step, code, log, tail)
        self.step, self.code, self.log, self.tail = step, code, log, tail

    def __str__(self) -> str:
        """Show the log's end and where the rest is."""
        return f"{self.step} failed with exit code {self.code}:\n\n{self.tail}\n\nAll of it: {self.log}"


class ServiceEndedError(StartError):
    """A program of the stack ended by itself."""

    def __init__(self, service: str, code: int, log: Path, tail: str) -> None:
        """Name the service, its exit code, its log, and that log's last lines."""
        super().__init__(service, code, log, tail)
        self.service, self.code, self.log, self.tail = service, code, log, tail

    def __str__(self) -> str:
        """Show the log's end and where the rest is."""
        return f"The {self.service} ended with exit code {self.code}:\n\n{self.tail}\n\nAll of it: {self.log}"


class TemplateError(StartError):
    """The template cannot be served."""


class NoWebSocketApiError(TemplateError):
    """The template has no deployed WebSocket API, or not the one that the command names."""

    def __init__(self, template: str, logical_id: str | None = None) -> None:
        super().__init__(template, logical_id)
        self.template, self.logical_id = template, logical_id

    def __str__(self) -> str:
        if self.logical_id is not None:
            return f"{self.template} has no deployed WebSocket API with the logical id {self.logical_id}"
        return (
            f"{self.template} has no deployed WebSocket API: neither an AWS::Serverless::WebSocketApi "
            "nor an AWS::ApiGatewayV2::Api with ProtocolType WEBSOCKET"
        )


class AmbiguousApiError(TemplateError):
    """The template has several WebSocket APIs."""

    def __init__(self, logical_ids: Iterable[str]) -> None:
        self.logical_ids = sorted(logical_ids)
        super().__init__(self.logical_ids)

    def __str__(self) -> str:
        return f"the template has several WebSocket APIs: choose one with --api {'|'.join(self.logical_ids)}"


class UnresolvedError(TemplateError):
    """An intrinsic function's value cannot be worked out from the template and the deployed stack."""

    def __init__(self, expression: str) -> None:
        super().__init__(expression)
        self.expression = expression

    def __str__(self) -> str:
        return f"cannot resolve {self.expression} in the template"


class IntegrationError(GatewayError):
    """A route's backend gave no usable answer.

    A refused handshake has `status`; the error frame that answers a message has `message`.
    """

    status: ClassVar[int] = 500
    message: ClassVar[str] = "Internal server error"


class FunctionFailedError(IntegrationError):
    """The function raised an error, or returned no proxy response."""

    status = 502


class FunctionUnavailableError(IntegrationError):
    """The function cannot be invoked: it does not exist, is throttled, or its integration is not supported."""

    status = 500


class BrokenIntegrationError(IntegrationError):
    """The integration cannot work as it is set up, or its backend cannot be reached."""

    status = 500


class TemplateFailedError(BrokenIntegrationError):
    """A mapping template is wrong, or what it does fails."""


class UnsupportedMediaError(IntegrationError):
    """No template matches, and the integration's PassthroughBehavior forbids to send the message as it came."""

    status = 415
    message = "Unsupported Media Type"


class IntegrationTimeoutError(IntegrationError):
    """The integration took longer than its timeout (29 s unless the template says less)."""

    status = 504
    message = "Endpoint request timed out"


class RefusedError(GatewayError):
    """The `$connect` route refused the client: by its authorizer, its signature or its API key."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message

    def __str__(self) -> str:
        return f"{self.status} {self.message}"


class NoVerdictError(GatewayError):
    """The emulator does not say what a caller may do: it fails, or does not answer."""


class DeliveryError(GatewayError):
    """A management request cannot be carried out."""


class GoneError(DeliveryError):
    """The connection is closed, closing, or was never there."""


class MalformedIdError(DeliveryError):
    """The connection id does not have the form that API Gateway's ids have."""


class BufferFullError(DeliveryError):
    """The client does not read the frames that were sent to it."""


class TooLargeError(DeliveryError):
    """A post has more bytes than a message may have: 131,072, unless --message-bytes says otherwise."""
