"""Turns errors and logs into advice for a person."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from operate.errors import CommandError
from operate.verify.lines import FailedError

DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ForbiddenException",
        "UnauthorizedOperation",
        "AuthorizationErrorException",
    }
)
_ACTION = re.compile(r"not authorized to perform: (?P<action>[\w-]+:\w+)(?: on resource: (?P<resource>[^\s,\"]+))?")
_MANAGEMENT = re.compile(r"may not execute-api:ManageConnections|role of \w+ may not post")
_METHOD = re.compile(r"\b(POST|GET|DELETE)\b")
_TIMED_OUT = re.compile(r"Task timed out after [\d.]+ seconds")

STATUSES = {
    401: "The function connect refused the token: see the lines about token keys.",
    403: (
        "API Gateway knows no such stage or mapping key, or refuses its execute-api endpoint: compare the output "
        "WebSocketUrl with the API's stages and, if there is a domain, with its API mappings."
    ),
    429: "The account's quota of new connections or of requests is used up: see the lines about quotas.",
    500: (
        "The function connect cannot be invoked or answers 500: `realtime logs connect --stack NAME`, and the Lambda "
        "permission ConnectPermission."
    ),
    502: "The function connect fails: `realtime logs connect --stack NAME` shows with what.",
    504: "The function connect takes longer than 29 s: `realtime logs connect --stack NAME`.",
}


@dataclass(frozen=True)
class Complaint:
    """What a function logged as an error or a warning."""

    function: str
    text: str


def complaint(function: str, text: str) -> Complaint | None:
    """Read a line of a log; None where it is no complaint, or one that verify means to provoke."""
    try:
        entry = json.loads(text)
    except ValueError:
        entry = None
    if isinstance(entry, dict):
        level = str(entry.get("level") or entry.get("log_level") or "")
        reason = str(entry.get("reason") or entry.get("errorMessage") or entry.get("message") or "")
        if level not in {"ERROR", "CRITICAL"} and not _TIMED_OUT.search(text):
            return None
        more = str(entry.get("exception") or entry.get("errorType") or "")
        return Complaint(function, f"{reason} {more}".strip())
    found = _ACTION.search(text) or _TIMED_OUT.search(text) or _MANAGEMENT.search(text)
    if found or "[ERROR]" in text or re.search(r"^\S*(Error|Exception)\b", text):
        return Complaint(function, text.strip())
    return None


def missing_right(complaints: Iterable[Complaint]) -> str | None:
    """What to do if a function complained of a missing right, which explains all other errors."""
    return next((right for each in complaints if (right := _right(each))), None)


def advise(complaints: Iterable[Complaint]) -> str | None:
    """What to do about the complaints of functions."""
    texts = list(dict.fromkeys(complaints))
    if right := missing_right(texts):
        return right
    for each in texts:
        if found := _TIMED_OUT.search(each.text):
            return f"The function {each.function} says: {found[0]}. For what? `realtime logs {each.function}`."
    if texts:
        last = texts[-1]
        return f"The function {last.function} complains: {_shortened(last.text)} (`realtime logs {last.function}`)"
    return None


def _right(each: Complaint) -> str | None:
    role = f"the role of the function {each.function}"
    again = "template.yaml grants it: deploy again, or look for a policy, boundary or SCP that takes it away."
    if (found := _ACTION.search(each.text)) and "ManageConnections" not in found["action"]:
        on = f" on {found['resource']}" if found["resource"] else ""
        return f"Give {role} the right {found['action']}{on}. {again}"
    if found or _MANAGEMENT.search(each.text):
        methods = _METHOD.findall(each.text)
        method = methods[0] if methods else "POST"
        return (
            f"Give {role} the right execute-api:ManageConnections for {method} on {{api}}/*/{method}/@connections/*; "
            f"if it has that, see that its MANAGEMENT_ENDPOINT is the output ManagementUrl. {again}"
        )
    return None


def _shortened(text: str, length: int = 300) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[:length]}…"


def explain(error: Exception, advice: str = "") -> FailedError:  # noqa: PLR0911  # a return for each kind
    """Say in words what an exception in verify means; `advice` is the check's own advice."""
    if isinstance(error, ClientError):
        return _of_aws(error, advice)
    if isinstance(error, NoCredentialsError):
        return FailedError("there are no AWS credentials", "Set AWS_PROFILE, or the variables of an access key.")
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return FailedError(
            f"the handshake was refused with status {error.status}", STATUSES.get(error.status, "") or advice
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return FailedError(f"the certificate is not good: {_shortened(str(error))}", "See CertificateArn and the name.")
    if isinstance(error, aiohttp.ClientConnectionError | OSError) and not isinstance(error, TimeoutError):
        return FailedError(
            f"nothing answers: {_shortened(str(error))}",
            "See that the name resolves (a domain's record may take minutes) and that nothing blocks the way there.",
        )
    if isinstance(error, TimeoutError):
        return FailedError("it did not happen in time", advice)
    if isinstance(error, BotoCoreError | CommandError):
        return FailedError(_shortened(str(error)), advice)
    return FailedError(f"{type(error).__name__}: {_shortened(str(error))}", advice)


def is_denied(error: Exception) -> bool:
    """Whether AWS refused the call because the caller lacks the right."""
    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code", "") in DENIED


def _of_aws(error: ClientError, advice: str) -> FailedError:
    described = error.response.get("Error", {})
    code, message = described.get("Code", ""), described.get("Message", "")
    if code in DENIED:
        found = _ACTION.search(message)
        action = found["action"] if found else error.operation_name
        return FailedError(
            f"your own credentials may not {action}",
            f"Give the user who runs verify the right {action} (docs/verify.md has the whole policy). "
            "No function of the stack is at fault for this.",
        )
    return FailedError(f"{error.operation_name}: {code}: {_shortened(message)}", advice)
