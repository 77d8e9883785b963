"""Runs the AWS emulator behind a check that accepts requests of this run's own programs alone.

The emulator by itself answers any page of the web: it lets any `Origin` read, accepts any `Host`, and treats the access
key `test` with any signature as its root user. A caller of the emulator can run code on this machine. So the check
refuses browsers, and every request must be signed, in its `Authorization` header, with the access key of this run or
one that the emulator issued, such as a role's. `GET /_ministack/health` alone needs no signature.

The check runs inside the emulator's own process, so that no second port exists without it. The emulator's interpreter
runs this module (`samsocket.emulation.guarded_emulator`), with its settings in the environment and the access key as
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import re
import secrets
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import parse_qs, quote

from samsocket.emulation.vault import Application, Event, Receive, Scope, Send, Vault, read
from samsocket.origin_check import FORBIDDEN, MISDIRECTED, is_own_host

HEALTH: Final = "/_ministack/health"
ALGORITHM: Final = "AWS4-HMAC-SHA256"

# Browsers send one of these with a page's requests. `Sec-Fetch-Mode` is not in the list: Node's `fetch` sends it.
_BROWSERS: Final = ("origin", "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user", "access-control-request-method")

_LAYER: Final = re.compile(r"layer_\d+")
"""The folder in which the emulator unpacks a layer for a function's process."""
_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


@dataclass(frozen=True)
class Request:
    """A request as its signature covers it; the names of `headers` are in lower case."""

    method: str
    raw_path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """Read an ASGI scope."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), _text(value)
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        query = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"), keep_blank_values=True)
        return cls(scope.get("method", "GET"), raw_path.decode("latin-1"), query, headers)

    @property
    def access_key(self) -> str:
        """Return the access key id in the `Authorization` header; empty without such a header."""
        algorithm, _, fields = self.headers.get("authorization", "").partition(" ")
        if algorithm != ALGORITHM:
            return ""
        named = dict(field.strip().partition("=")[::2] for field in fields.split(","))
        return named.get("Credential", "").partition("/")[0]


@dataclass(frozen=True)
class Refusal:
    """The answer to a refused request: an AWS error's code, and what to do about it."""

    status: int
    code: str
    message: str

    @property
    def body(self) -> bytes:
        """Return the answer in the form in which SDKs find its message."""
        return json.dumps({"__type": self.code, "message": self.message}).encode()


FROM_A_BROWSER: Final = Refusal(FORBIDDEN, "AccessDeniedException", "the AWS emulator answers no browser")
FOREIGN_HOST: Final = Refusal(MISDIRECTED, "AccessDeniedException", "the AWS emulator has no such host name")
UNSIGNED: Final = Refusal(
    FORBIDDEN,
    "UnrecognizedClientException",
    "the AWS emulator takes the access key of this run alone, in signed headers: "
    'eval "$(samsocket env)", or eval "$(realtime env)"',
)

Secret = Callable[[str], str | None]
"""The secret of an access key id, or None if it is nobody's."""

IsSigned = Callable[[Request, bytes, str], bool]
"""Whether a request with a body is signed with a secret."""


class Admission:
    """An ASGI application before another one, which gets accepted requests alone."""

    def __init__(
        self,
        inside: Application,
        ports: Collection[int],
        secret: Secret,
        is_signed: IsSigned,
        *,
        has_aws_names: bool = False,
    ) -> None:
        """Take the emulator, the ports that a `Host` may name, and functions for secrets and signatures.

        With `has_aws_names`, a `Host` may also be AWS's own, such as `dynamodb.us-east-1.amazonaws.com`.
        """
        self._inside, self._ports, self._has_aws_names = inside, frozenset(ports), has_aws_names
        self._secret, self._is_signed = secret, is_signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept or refuse a request. The body is read only if the access key is known."""
        if scope["type"] == "lifespan":
            await self._inside(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: a 403
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request.of(scope)
        refusal = self._refusal_of_origin(scope, request)
        if refusal is None and not _is_health(scope):
            secret = self._secret(request.access_key) if request.access_key else None
            body = b"" if secret is None or "x-amz-content-sha256" in request.headers else await read(receive)
            if secret is None or not self._is_signed(request, body, secret):
                refusal = UNSIGNED
            elif "x-amz-content-sha256" not in request.headers:
                receive = _again(body, receive)
        if refusal is None:
            await self._inside(scope, receive, _without_cors(send))
        else:
            await _refuse(refusal, send)

    def _refusal_of_origin(self, scope: Scope, request: Request) -> Refusal | None:
        """The refusal of a request that a browser sent, or that was sent to a name that is not this machine's."""
        if any(name in request.headers for name in _BROWSERS):
            return FROM_A_BROWSER
        hosts = [_text(value) for name, value in scope["headers"] if name.lower() == b"host"]
        if self._has_aws_names and len(hosts) == 1 and hosts[0].partition(":")[0].endswith(_AWS):
            return None
        return None if is_own_host(hosts, ports=self._ports) else FOREIGN_HOST


def _is_health(scope: Scope) -> bool:
    return (scope["method"], scope["path"]) == ("GET", HEALTH)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _again(body: bytes, receive: Receive) -> Receive:
    """An ASGI `receive` that first gives a body that was read already, and then the messages after it."""
    events = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive_again() -> Event:
        return next(events, None) or await receive()

    return receive_again


def _without_cors(send: Send) -> Send:
    """An ASGI `send` that removes the headers which let a page of another origin read the answer."""

    async def send_without(event: Event) -> None:
        if "headers" in event:
            kept = [pair for pair in event["headers"] if not pair[0].lower().startswith(b"access-control-")]
            event = {**event, "headers": kept}
        await send(event)

    return send_without


async def _refuse(refusal: Refusal, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(refusal.body)).encode()),
        (b"x-amzn-errortype", refusal.code.encode()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body})


# ---- the emulator itself: MiniStack's own functions, of the version that is pinned ----------------------------------


class Keys:
    """The access keys of one run of the emulator: the run's own, and those that it issued."""

    def __init__(self, access_key: str, secret: str) -> None:
        """Take the run's own access key."""
        self._access_key, self._secret_key = access_key, secret
        self._iam = importlib.import_module("ministack.core.iam_evaluator")
        self._sigv4 = importlib.import_module("ministack.core.sigv4")

    def secret(self, access_key: str) -> str | None:
        """The secret of an access key, None if the key is unknown.

        The emulator treats `test` and every account number as root, with any signature. Here these keys are unknown.
        """
        if secrets.compare_digest(access_key.encode(), self._access_key.encode()):
            return self._secret_key
        if self._iam.is_root_access_key(access_key):
            return None
        try:
            account = self._iam.find_iam_access_key_account(access_key)
        except self._iam.AmbiguousAccessKeyError:
            return None
        issued = self._iam.resolve_credential(access_key, account)
        return getattr(issued, "secret_access_key", None)

    def is_own(self, scope: Scope) -> bool:
        """Whether a request, whose signature was found right, is signed with the run's own key."""
        return secrets.compare_digest(Request.of(scope).access_key.encode(), self._access_key.encode())

    def told(self, access_key: str) -> dict[str, str | None]:
        """The secret of an access key, and the session token that goes with it; None if the key is unknown."""
        secret, token = self.secret(access_key), None
        if secret is not None and access_key != self._access_key:
            account = self._iam.find_iam_access_key_account(access_key)
            token = getattr(self._iam.resolve_credential(access_key, account), "session_token", None)
        return {"SecretAccessKey": secret, "SessionToken": token}

    def is_signed(self, request: Request, body: bytes, secret: str) -> bool:
        """Whether a request was signed with a secret, and recently."""
        signature = self._sigv4.parse_header_signature(request.headers)
        if isinstance(signature, tuple) or self._sigv4.request_time_failure(signature):
            return False
        failure = self._sigv4.header_signature_failure(
            signature, secret, request.method, request.raw_path, request.query, request.headers, body
        )
        return failure is None


def hide_role_credentials() -> None:
    """Make the credentials of functions impossible to guess.

    The emulator derives a function's access key, secret and session token from the names of function and role, and
    anybody else can do so too. This adds a secret of this run to the names.
    """
    runtime: Any = importlib.import_module("ministack.core.lambda_runtime")
    derive, salt = runtime.execution_credentials, secrets.token_hex(32)

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        credentials: dict[str, str] = derive({**config, "FunctionArn": f"{config['FunctionArn']}:{salt}"})
        return credentials

    if "ministack.services.lambda_svc" in sys.modules:
        raise RuntimeError("the emulator has its own function of role credentials already")
    runtime.execution_credentials = execution_credentials


def role_credentials(config: dict[str, Any]) -> Mapping[str, str]:
    """The variables with which a function's process has the rights of its role."""
    runtime: Any = importlib.import_module("ministack.core.lambda_runtime")
    variables: Mapping[str, str] = runtime.execution_credentials(config)
    return variables


def allow_batches_of_sqs() -> None:
    """Make the right to an action of SQS include its batches, as on AWS; the emulator asks for rights that AWS lacks.

    docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """
    actions: Any = importlib.import_module("ministack.core.iam_actions")
    name_of = actions._action_from_target  # noqa: SLF001

    def action_from_target(headers: Mapping[str, str]) -> str | None:
        name: str | None = name_of(headers)
        is_sqs = headers.get("x-amz-target", "").startswith("AmazonSQS.")
        return name.removesuffix("Batch") if name and is_sqs else name

    actions._action_from_target = action_from_target  # noqa: SLF001


def share_layers() -> None:
    """Unpack each layer once, for all functions' processes, which then also share what Python compiled of it.

    The emulator would unpack a layer for each process, which would compile it. A function may not write to its layers:
    on AWS it cannot.
    """
    runtime: Any = importlib.import_module("ministack.core.lambda_runtime")
    runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": layers_unpacked_once(tempfile.mkdtemp)})


def layers_unpacked_once(new_folder: Callable[[], str]) -> type[zipfile.ZipFile]:
    """A class of zip files: a layer becomes a link to where it was unpacked first, in a new folder."""
    unpacked: dict[str, str] = {}
    one_at_a_time = threading.Lock()

    class Archive(zipfile.ZipFile):
        def extractall(self, path: Any = None, *rest: Any) -> None:
            if not _LAYER.fullmatch(os.path.basename(path or "")):  # noqa: PTH119  # a function's code is its own
                super().extractall(path, *rest)
                return
            content = hashlib.sha256(Path(str(self.filename)).read_bytes()).hexdigest()
            with one_at_a_time:
                if content not in unpacked:
                    folder = new_folder()
                    super().extractall(folder, *rest)
                    unpacked[content] = folder
            Path(path).rmdir()
            Path(path).symlink_to(unpacked[content])

    return Archive


def ending_at_once(inside: Application, end: Callable[[], object]) -> Application:
    """An ASGI application after whose shutdown the process ends.

    The emulator would wait for its threads, which work for queues and streams, until it is killed. It keeps nothing.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await inside(scope, receive, send)
        if scope["type"] == "lifespan":
            end()

    return application


def main() -> None:
    """Run the emulator until it is ended."""
    parser = argparse.ArgumentParser(description="Runs the AWS emulator behind a check of its callers.")
    # The gateway passes management requests to the emulator unchanged: their signature covers a Host with its port.
    parser.add_argument("--gateway-port", type=int, action="append", default=[])
    parser.add_argument("--aws-names", action="store_true")
    options = parser.parse_args()
    secret = os.environ.pop("AWS_SECRET_ACCESS_KEY")  # functions inherit the environment
    keys = Keys(os.environ["AWS_ACCESS_KEY_ID"], secret)
    hide_role_credentials()
    allow_batches_of_sqs()
    share_layers()
    server: Any = importlib.import_module("ministack.app")
    ports = {int(os.environ["GATEWAY_PORT"]), *options.gateway_port}
    vault = Vault(server.app, keys.is_own, keys.told, role_credentials)
    server.app = ending_at_once(
        Admission(vault, ports, keys.secret, keys.is_signed, has_aws_names=options.aws_names), lambda: os._exit(0)
    )
    sys.argv = ["ministack"]
    server.main()


if __name__ == "__main__":
    main()
