"""The clients of AWS services: how they name themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict

from realtime.aws import clients


class Nothing:
    """The body of an answer without members, as botocore reads it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield b"{}"


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"DEFAULT_REGION": "us-east-1", "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for kept in (clients.session, clients.client):
        kept.cache_clear()
    yield
    for kept in (clients.session, clients.client):
        kept.cache_clear()


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        ("dynamodb", "get_item", {"TableName": "Users", "Key": {"user_id": {"S": "1"}}}),
        ("ssm", "get_parameter", {"Name": "/keys"}),
    ],
)
def test_requests_name_the_service_and_botocores_version(
    service: str, operation: str, request_: dict[str, Any]
) -> None:
    agents: list[str] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        name: Any = request.headers["User-Agent"]
        headers: Any = HeadersDict()
        agents.append(name.decode())
        return AWSResponse("", 200, headers, Nothing())

    client = clients.client(service)
    client.meta.events.register("before-send", answer)
    getattr(client, operation)(**request_)
    (agent,) = agents
    assert agent.startswith(f"listener-realtime Botocore/{botocore.__version__}")
