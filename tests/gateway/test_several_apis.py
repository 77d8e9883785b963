"""Several APIs on one port: by path, by host, and by their stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import sample_api

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter


@pytest.fixture
async def gateway(start: Starter) -> RunningGateway:
    """Two APIs, both with a stage `prod`, and each with one of its own."""
    return await start(
        sample_api(api_id="a1", name="Chat", stages={"prod": {}, "feed": {}}),
        sample_api(api_id="b2", name="Game", stages={"prod": {}, "beta": {}}),
    )


@pytest.mark.parametrize(
    ("path", "host", "api_id"),
    [
        ("/a1/prod", None, "a1"),
        ("/Game/prod", None, "b2"),
        ("/Game/prod/", None, "b2"),
        ("/Game/ws/prod", None, "b2"),
        ("/_aws/execute-api/b2/prod", None, "b2"),
        ("/prod", "b2.execute-api.us-east-1.amazonaws.com", "b2"),
        ("/prod", "a1.localhost:3001", "a1"),
        ("/prod", "game.localhost", "b2"),
        ("/feed", None, "a1"),
        ("/ws/beta", None, "b2"),
    ],
)
async def test_a_path_or_a_host_names_the_api(
    gateway: RunningGateway, aws: FakeAws, path: str, host: str | None, api_id: str
) -> None:
    await gateway.connect(path, headers={"Host": host} if host else {})
    context = (await aws.event("CONNECT"))["requestContext"]
    assert context["apiId"] == api_id
    assert [row["api_id"] for row in await gateway.connections()] == [api_id]


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/prod", None),
        ("/Game/feed", None),
        ("/Nobody/prod", None),
        ("/_aws/execute-api/c3/prod", None),
        ("/_aws/execute-api/prod", None),
        ("/feed", "game.localhost"),
    ],
)
async def test_a_stage_of_several_apis_or_of_another_one_is_forbidden(
    gateway: RunningGateway, aws: FakeAws, path: str, host: str | None
) -> None:
    assert (await gateway.refused(path, headers={"Host": host} if host else {})).status == 403
    assert aws.events == []


async def test_the_name_of_an_api_that_is_not_there_is_misdirected(gateway: RunningGateway) -> None:
    refused = await gateway.refused("/prod", headers={"Host": "c3.execute-api.us-east-1.amazonaws.com"})
    assert refused.status == 421


async def test_a_post_finds_its_connection_whichever_api_has_it(gateway: RunningGateway) -> None:
    chat, game = await gateway.connect("/Chat/prod"), await gateway.connect("/Game/prod")
    for client in (chat, game):
        assert (await gateway.post(client.connection_id, "hello", stage="prod", plain=True)).status == 200
        assert await client.receive() == "hello"
    assert (await gateway.post(game.connection_id, "x", stage="Game/prod", plain=True)).status == 200
    assert (await gateway.post(game.connection_id, "x", stage="Chat/prod", plain=True)).status == 410
    assert (await gateway.post(game.connection_id, "x", stage="beta", plain=True)).status == 410


async def test_the_management_api_is_served_under_each_apis_own_name(gateway: RunningGateway) -> None:
    client = await gateway.connect("/Game/prod")
    url = gateway.management_url(client.connection_id, "prod", plain=True)
    for host, status in [("b2.execute-api.us-east-1.amazonaws.com", 200), ("a1.localhost", 410)]:
        async with gateway.client.post(url, data=b"hello", headers={"Host": host}) as response:
            assert response.status == status


async def test_health_names_all_apis(gateway: RunningGateway) -> None:
    health = (await gateway.control("GET", "health")).json()
    assert [(api["api_id"], api["name"], api["stages"]) for api in health["apis"]] == [
        ("a1", "Chat", ["feed", "prod"]),
        ("b2", "Game", ["beta", "prod"]),
    ]


async def test_routes_of_one_api_are_not_those_of_another(start: Starter, aws: FakeAws) -> None:
    both = (
        sample_api(api_id="a1", name="A", stages={"a": {}}),
        sample_api(api_id="b2", name="B", stages={"b": {}}, routes={}),
    )
    gateway = await start(*both)
    first, second = await gateway.connect("/a"), await gateway.connect("/b")
    await first.send("x")
    assert await first.receive() == "echo x"
    await second.send("x")
    assert '"Forbidden"' in await second.receive()
