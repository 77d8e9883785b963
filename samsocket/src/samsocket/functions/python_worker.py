"""Runs one Python function, as Lambda's own runtime does: loads the handler, then takes events until it is ended.

It is started by its path, in the function's interpreter, and imports the standard library alone. Its environment is
what Lambda's is, and SAMSOCKET_PORT: the port that answers for every AWS name.

Source of the protocol: docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import http.client
import importlib
import json
import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_LEADS_HERE = "127.255.77.77"
"""The loopback address to which AWS names resolve, so that `connect` knows them."""


def lead_aws_names_here(port: int) -> None:
    """Make every AWS name lead to a port of this machine, in this process alone.

    A name stays what it was for TLS, for the Host header and for the signature.
    """
    resolve, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex

    def getaddrinfo(host: Any, service: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:  # noqa: A002
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str) and name.lower().rstrip(".").endswith(_AWS):
            return resolve(_LEADS_HERE, service, socket.AF_INET, type, proto)
        return resolve(host, service, family, type, proto, flags)

    def led(address: Any) -> Any:
        return ("127.0.0.1", port) if isinstance(address, tuple) and address[0] == _LEADS_HERE else address

    replaced: Any = socket
    replaced.getaddrinfo = getaddrinfo
    replaced.socket.connect = lambda self, address: connect(self, led(address))
    replaced.socket.connect_ex = lambda self, address: connect_ex(self, led(address))


class Runtime:
    """The runtime API of this process's function."""

    def __init__(self, address: str) -> None:
        """Take AWS_LAMBDA_RUNTIME_API."""
        self._host, _, self._path = address.partition("/")
        self._connection = http.client.HTTPConnection(self._host)

    def next(self) -> tuple[dict[str, str], bytes]:
        """Wait for an event; returns its headers, by names in lower case, and its body."""
        status, headers, body = self._request("GET", "invocation/next")
        if status != 200:
            sys.exit(0)
        return headers, body

    def answer(self, request_id: str, body: bytes) -> None:
        """Report what the handler returned."""
        self._request("POST", f"invocation/{request_id}/response", body)

    def fail(self, where: str, error: BaseException) -> None:
        """Report an error of the handler (`invocation/ID/error`), or of its module (`init/error`)."""
        shown = error.__traceback__ and (error.__traceback__.tb_next or error.__traceback__)  # without our own call
        trace = [line for part in traceback.format_tb(shown) for line in part.splitlines()]
        report = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": trace}
        sys.stdout.write(f"[ERROR] {''.join(traceback.format_exception(type(error), error, shown))}")
        sys.stdout.flush()
        self._request("POST", where, json.dumps(report).encode())

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        try:
            self._connection.request(method, f"/{self._path}/2018-06-01/runtime/{path}", body)
            answer = self._connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException):
            sys.exit(0)  # whoever started this process has ended


class Context:
    """The second argument of a handler."""

    def __init__(self, headers: dict[str, str]) -> None:
        """Take the headers of an event."""
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = self.client_context = self.tenant_id = None
        self._deadline = int(headers["lambda-runtime-deadline-ms"])

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until the function's timeout."""
        return max(0, self._deadline - int(time.time() * 1000))


def load(handler: str) -> Callable[[Any, Context], Any]:
    """Return the function that `folder/module.name` names."""
    module, _, name = handler.replace("/", ".").rpartition(".")
    if not module:
        raise ValueError(f"Bad handler '{handler}': not enough values to unpack (expected 2, got 1)")
    found: Callable[[Any, Context], Any] = getattr(importlib.import_module(module), name)
    return found


def main() -> None:
    """Take events until this process is ended."""
    lead_aws_names_here(int(os.environ["SAMSOCKET_PORT"]))
    sys.path[:1] = os.environ["SAMSOCKET_PATH"].split(os.pathsep)  # in place of this file's own folder
    logging.basicConfig(stream=sys.stdout, format="[%(levelname)s] %(message)s")  # a handler, as on Lambda
    runtime = Runtime(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = load(os.environ["_HANDLER"])
    except BaseException as error:  # noqa: BLE001 - whatever it is, the developer must see it
        runtime.fail("init/error", error)
        sys.exit(1)
    while True:
        headers, body = runtime.next()
        context = Context(headers)
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
        try:
            returned = json.dumps(handler(json.loads(body), context), ensure_ascii=False).encode()
        except Exception as error:  # noqa: BLE001 - it becomes the function's error
            runtime.fail(f"invocation/{context.aws_request_id}/error", error)
        else:
            sys.stdout.flush()
            runtime.answer(context.aws_request_id, returned)


if __name__ == "__main__":
    main()
