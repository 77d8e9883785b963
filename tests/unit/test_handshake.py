from __future__ import annotations

from typing import Any

import pytest

from realtime.handshake import Handshake, read_handshake
from tests.samples import sample


def request(query: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> Handshake:
    event = sample("connect.token-missing")
    if query is not None:
        event["queryStringParameters"] = query
    event["headers"] |= headers or {}
    return read_handshake(event)


def token_in(event: dict[str, Any]) -> str:
    token: str = event["queryStringParameters"]["token"]
    return token


def test_a_handshake_holds_the_connection_its_endpoint_and_time() -> None:
    event = sample("connect.token-in-query")
    assert read_handshake(event) == Handshake(
        connection_id="RfGx1dQAIAMCIhA=",
        stage="feed",
        connected_at_ms=1_705_314_600_000,
        address="192.0.2.1",
        origin="https://www.example.com",
        token=token_in(event),
        subprotocol=None,
        parameters=event["queryStringParameters"],
    )


def test_a_token_in_the_subprotocols_is_found_and_bearer_is_answered() -> None:
    handshake = read_handshake(sample("connect.token-in-subprotocol"))
    assert handshake.token == token_in(sample("connect.token-in-query"))
    assert handshake.subprotocol == "bearer"


def test_a_token_in_the_authorization_header_is_found_in_lower_case_too() -> None:
    handshake = read_handshake(sample("connect.token-in-header"))
    assert handshake.token == token_in(sample("connect.token-in-query"))
    assert handshake.subprotocol is None


def test_a_handshake_without_headers_and_query_has_no_token() -> None:
    event = sample("connect.token-missing")
    del event["headers"], event["multiValueHeaders"]
    handshake = read_handshake(event)
    assert (handshake.token, handshake.subprotocol, handshake.parameters) == (None, None, {})


@pytest.mark.parametrize("name", ["headers", "queryStringParameters"])
def test_null_headers_and_query_are_read_as_absent(name: str) -> None:
    assert read_handshake({**sample("connect.token-missing"), name: None}).token is None


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "sec-websocket-protocol", "SEC-WEBSOCKET-PROTOCOL"])
def test_header_names_are_read_in_any_case(name: str) -> None:
    assert request(headers={name: "bearer, a.b.c"}).token == "a.b.c"


@pytest.mark.parametrize(
    ("offered", "token", "answered"),
    [
        ("bearer,a.b.c", "a.b.c", "bearer"),
        (" bearer ,  a.b.c ", "a.b.c", "bearer"),
        ("a.b.c, bearer", "a.b.c", "bearer"),
        ("Bearer, a.b.c", "a.b.c", "Bearer"),
        ("a.b.c, BEARER", "a.b.c", "BEARER"),
        ("json, bearer, a.b.c", "a.b.c", "bearer"),
        ("bearer, json, a.b.c", "a.b.c", "bearer"),
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
    handshake = request(headers={"Sec-WebSocket-Protocol": offered})
    assert (handshake.token, handshake.subprotocol) == (token, answered)


def test_subprotocols_may_stand_in_several_headers() -> None:
    event = sample("connect.token-missing")
    event["headers"]["Sec-WebSocket-Protocol"] = "a.b.c"  # API Gateway's `headers` have the last one of a name
    event["multiValueHeaders"]["sec-websocket-protocol"] = ["json, bearer", "a.b.c"]
    handshake = read_handshake(event)
    assert (handshake.token, handshake.subprotocol) == ("a.b.c", "bearer")


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


def test_the_query_comes_before_the_subprotocol_and_that_before_the_header() -> None:
    others = {"Sec-WebSocket-Protocol": "bearer, protocol", "Authorization": "Bearer header"}
    assert request({"token": "query"}, others).token == "query"
    assert request({"token": ""}, others).token == "protocol"
    assert request({}, others).token == "protocol"
