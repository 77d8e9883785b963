"""Each quota can be set on the command line, and holds."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import click
import pytest

from samsocket.__main__ import main
from samsocket.api import Authorizer, Integration, Route
from samsocket.options import settings_of
from samsocket.settings import Settings
from tests.support.gateways import sample_api

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter

TOO_BIG = 1009


def options(command: str) -> dict[str, click.Option]:
    """The options of a command, by the names of their parameters."""
    found = main.get_command(click.Context(main), command)
    assert found is not None
    return {str(each.name): each for each in found.params if isinstance(each, click.Option)}


def test_a_client_loads_nothing_of_what_expands_and_deploys() -> None:
    call = "import sys, samsocket.__main__ as m; m.main(['ls', '--help'], standalone_mode=False)"
    script = f"{call}; print(sorted({{'aiohttp', 'samtranslator', 'boto3', 'botocore'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "['aiohttp']"


def test_all_commands_are_listed_and_others_are_none() -> None:
    context = click.Context(main)
    listed = main.list_commands(context)
    assert {"up", "serve", "connect", "send", "ls", "post", "kill", "env", "setup"} == set(listed)
    assert all(main.get_command(context, name) for name in listed)
    assert main.get_command(context, "nothing") is None


@pytest.mark.parametrize("command", ["up", "serve"])
def test_each_setting_has_an_option_with_its_default_and_a_help(command: str) -> None:
    known = options(command)
    for field in dataclasses.fields(Settings):
        option = known[field.name]
        assert option.opts[0] == f"--{field.name.replace('_', '-')}"
        assert option.default == field.default
        assert option.help


def test_what_the_options_give_is_what_the_gateway_has() -> None:
    given = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert settings_of(given) == Settings()
    assert settings_of({**given, "latency": 0.5, "max_age": 60}) == Settings(latency=0.5, max_age=60)


@pytest.mark.parametrize("name", ["idle_timeout", "message_bytes", "frame_bytes", "requests_burst"])
def test_a_quota_of_nothing_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(click.ClickException, match=name):
        settings_of({name: 0})


def test_a_latency_may_be_none_but_not_negative() -> None:
    assert settings_of({"latency": 0}).latency == 0
    with pytest.raises(click.ClickException, match="latency"):
        settings_of({"latency": -1})


async def test_a_frame_over_the_given_size_closes_its_connection(start: Starter) -> None:
    gateway = await start(settings={"frame_bytes": 100})
    client = await gateway.connect()
    await client.send("x" * 100)
    assert await client.receive() == "echo " + "x" * 100
    await client.send("x" * 101)
    assert (await client.closed())[0] == TOO_BIG


async def test_a_message_over_the_given_size_closes_its_connection(start: Starter) -> None:
    gateway = await start(settings={"message_bytes": 200, "frame_bytes": 1_000})
    client = await gateway.connect()
    await client.send("x" * 190)
    assert await client.receive() == "echo " + "x" * 190
    await client.send("x" * 201)
    assert (await client.closed())[0] == TOO_BIG


async def test_a_post_and_an_answer_have_the_given_size_at_most(start: Starter, aws: FakeAws) -> None:
    aws.functions["default"] = lambda _: {"statusCode": 200, "body": "x" * 201}
    gateway = await start(settings={"message_bytes": 200})
    client = await gateway.connect()
    assert (await gateway.post(client.connection_id, "x" * 200)).status == 200
    assert await client.receive() == "x" * 200
    assert (await gateway.post(client.connection_id, "x" * 201)).status == 413
    await client.send("hello")
    assert "Internal server error" in await client.receive()


async def took(gateway: RunningGateway, client: Any) -> float:
    """Seconds from a message to its answer."""
    began = time.monotonic()
    await client.send("hello")
    assert await client.receive() == "echo hello"
    return time.monotonic() - began


async def test_each_event_is_on_its_way_for_the_given_latency_until_it_is_changed(start: Starter, aws: FakeAws) -> None:
    arn = "arn:aws:execute-api:us-east-1:000000000000:realtime/*"
    allow = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": arn}
    aws.functions["authorizer"] = lambda _: {"principalId": "me", "policyDocument": {"Statement": [allow]}}
    api = sample_api()
    guarded = Route(
        key="$connect",
        integration=Integration(function="connect"),
        authorization="CUSTOM",
        authorizer=Authorizer(function="authorizer"),
    )
    gateway = await start(sample_api(routes={**api.routes, "$connect": guarded}), settings={"latency": 0.2})
    began = time.monotonic()
    client = await gateway.connect()
    assert time.monotonic() - began >= 0.4  # the authorizer, then the route
    assert await took(gateway, client) >= 0.2
    changed = await gateway.control("PATCH", "settings", json={"latency": 0})
    assert changed.json()["latency"] == 0
