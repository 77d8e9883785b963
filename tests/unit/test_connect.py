from __future__ import annotations

from typing import Any

import pytest

from realtime import connect
from tests.samples import sample


def request(query: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> connect.Handshake:
    event = sample("connect.token-missing")
    if query is not None:
        event["queryStringParameters"] = query
    event["headers"] |= headers or {}
    return connect.read(event)


def token_in(event: dict[str, Any]) -> str:
    token: str = event["queryStringParameters"]["token"]
    return token


def test_a_handshake_says_who_connects_to_what_and_when() -> None:
    event = sample("connect.token-in-query")
    assert connect.read(event) == connect.Handshake(
        connection_id="RfGx1dQAIAMCIhA=",
        endpoint="feed",
        connected_at=1_705_314_600_000,
        token=token_in(event),
        subprotocol=None,
        parameters=event["queryStringParameters"],
    )


def test_the_token_may_come_as_a_subprotocol_which_alone_is_answered() -> None:
    read = connect.read(sample("connect.token-in-subprotocol"))
    assert read.token == token_in(sample("connect.token-in-query"))
    assert read.subprotocol == "bearer"


def test_the_token_may_come_in_a_header_that_a_custom_domain_lowers() -> None:
    read = connect.read(sample("connect.token-in-header"))
    assert read.token == token_in(sample("connect.token-in-query"))
    assert read.subprotocol is None


def test_without_headers_and_query_there_is_no_token() -> None:
    event = sample("connect.token-missing")
    del event["headers"], event["multiValueHeaders"]
    read = connect.read(event)
    assert (read.token, read.subprotocol, read.parameters) == (None, None, {})


@pytest.mark.parametrize("name", ["headers", "queryStringParameters"])
def test_what_api_gateway_sends_as_null_is_read_as_absent(name: str) -> None:
    assert connect.read({**sample("connect.token-missing"), name: None}).token is None


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "sec-websocket-protocol", "SEC-WEBSOCKET-PROTOCOL"])
def test_header_names_come_in_any_case(name: str) -> None:
    assert request(headers={name: "bearer, a.b.c"}).token == "a.b.c"


@pytest.mark.parametrize(
    ("offered", "token", "answered"),
    [
        ("bearer,a.b.c", "a.b.c", "bearer"),
        (" bearer ,  a.b.c ", "a.b.c", "bearer"),
        ("a.b.c, bearer", "a.b.c", "bearer"),
        ("bearer", None, "bearer"),
        ("bearer, bearer", None, "bearer"),
        ("bearer,", None, "bearer"),
        ("graphql-ws, a.b.c", None, None),
        ("a.b.c", None, None),
        ("", None, None),
        (",,", None, None),
    ],
)
def test_a_subprotocol_is_a_token_only_beside_bearer(offered: str, token: str | None, answered: str | None) -> None:
    read = request(headers={"Sec-WebSocket-Protocol": offered})
    assert (read.token, read.subprotocol) == (token, answered)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer a.b.c", "a.b.c"),
        ("bearer a.b.c", "a.b.c"),
        ("BEARER   a.b.c ", "a.b.c"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic dXNlcjpwYXNz", None),
        ("a.b.c", None),
        ("", None),
    ],
)
def test_an_authorization_header_is_a_token_only_if_it_says_bearer(header: str, token: str | None) -> None:
    assert request(headers={"Authorization": header}).token == token


def test_of_several_tokens_the_query_counts_then_the_subprotocol() -> None:
    others = {"Sec-WebSocket-Protocol": "bearer, protocol", "Authorization": "Bearer header"}
    assert request({"token": "query"}, others).token == "query"
    assert request({"token": ""}, others).token == "protocol"
    assert request({}, others).token == "protocol"
