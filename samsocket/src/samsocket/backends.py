"""Backends that are no Lambda functions: actions of AWS services, and HTTP servers.

Source of the URIs: IntegrationUri in docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/
aws-resource-apigatewayv2-integration.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
from botocore.exceptions import BotoCoreError

from samsocket import sdk
from samsocket.errors import BrokenIntegrationError, IntegrationTimeoutError

if TYPE_CHECKING:
    from samsocket.emulator import Emulator

_SERVICE: Final = re.compile(
    r"arn:[^:]+:apigateway:(?P<region>[^:]*):(?:[^.:]+\.)?(?P<service>[^.:]+):(?P<kind>action|path)/(?P<rest>.*)"
)
_FORM: Final = "application/x-www-form-urlencoded"
# The names of services in URIs that are not the names of their models.
_MODELS: Final = {"states": "stepfunctions", "monitoring": "cloudwatch", "email": "ses"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a backend answered; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True, kw_only=True)
class ServiceCall:
    """A request to an AWS service that is not signed yet."""

    signing_name: str
    region: str
    path: str
    headers: Mapping[str, str]
    body: str


async def call_service(
    emulator: Emulator,
    uri: str,
    method: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    body: str,
    *,
    seconds: float,
) -> Answer:
    """Call an AWS service at the emulator; `uri` is `arn:aws:apigateway:{region}:{service}:action|path/…`.

    Raises:
        BrokenIntegrationError: there is no such service or action, or the emulator does not answer.
        IntegrationTimeoutError: it did not answer in time.
    """
    call = service_call(uri, headers, query, body)
    try:
        return await emulator.call(call, method, seconds=seconds)
    except TimeoutError as error:
        raise IntegrationTimeoutError(f"{uri}: no answer in {seconds:g} s") from error
    except (aiohttp.ClientError, ValueError) as error:  # ValueError: a header with a line break, for one
        raise BrokenIntegrationError(f"{uri}: {type(error).__name__}: {error}") from error


def service_call(uri: str, headers: Mapping[str, str], query: Mapping[str, str], body: str) -> ServiceCall:
    """Return the request that an integration's URI stands for.

    An action of a service that speaks JSON is named by `X-Amz-Target`, that of another one by the form's `Action`.

    Raises:
        BrokenIntegrationError: the URI names no service and action.
    """
    match = _SERVICE.fullmatch(uri)
    model = None if match is None else _model(_MODELS.get(match["service"], match["service"]))
    if match is None or model is None:
        raise BrokenIntegrationError(f"{uri or '(no IntegrationUri)'} names no AWS service")
    sent = {name.lower(): value for name, value in headers.items()}
    path = "/"
    if match["kind"] == "path":
        path = "/" + match["rest"].lstrip("/")
    elif _speaks_json(model, sent.get("content-type", "")):
        sent.setdefault("content-type", f"application/x-amz-json-{model.metadata.get('jsonVersion', '1.0')}")
        sent["x-amz-target"] = f"{model.metadata['targetPrefix']}.{match['rest']}"
    else:
        sent.setdefault("content-type", _FORM)
        if not any(name == "Action" for name, _ in parse_qsl(body.strip())):
            named = {"Action": match["rest"], "Version": model.api_version}
            if body.strip():
                body = f"{urlencode(named)}&{body.strip()}"
            else:
                query = {**named, **query}
    return ServiceCall(
        signing_name=model.signing_name,
        region=match["region"],
        path=f"{path}?{urlencode(query)}" if query else path,
        headers=sent,
        body=body.strip() if sent.get("content-type", "").startswith(_FORM) else body,
    )


def _speaks_json(model: Any, content_type: str) -> bool:
    """Return whether to speak JSON to a service; SQS takes forms too, of which its model says nothing."""
    protocols = model.metadata.get("protocols") or [model.metadata["protocol"]]
    return "json" in protocols and not content_type.startswith(_FORM)


@cache
def _model(service: str) -> Any:
    """Return botocore's description of a service; None if there is no such service."""
    try:
        return sdk.session().get_service_model(service)
    except BotoCoreError:
        return None


async def call_http(
    emulator: Emulator,
    uri: str,
    method: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    body: str,
    *,
    seconds: float,
) -> Answer:
    """Send a request to an HTTP server.

    Raises:
        BrokenIntegrationError: the URI is none, or nothing answers there.
        IntegrationTimeoutError: it did not answer in time.
    """
    if urlsplit(uri).scheme not in ("http", "https"):
        raise BrokenIntegrationError(f"{uri or '(no IntegrationUri)'} is no URL")
    if query:
        uri += ("&" if "?" in uri else "?") + urlencode(query)
    headers = {"Content-Type": "application/json", **headers} if body else headers
    try:
        return await emulator.fetch("POST" if method == "ANY" else method, uri, headers, body, seconds=seconds)
    except TimeoutError as error:
        raise IntegrationTimeoutError(f"{uri}: no answer in {seconds:g} s") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise BrokenIntegrationError(f"{urlsplit(uri).netloc}: {type(error).__name__}: {error}") from error
