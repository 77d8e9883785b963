"""The gateway's page: who may read what it shows, and what that is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from samsocket.activity import TEXT_CHARACTERS, Activity
from samsocket.page import HEADER
from tests.gateway.test_hosts import FOREIGN, HANDSHAKE, ask
from tests.support.gateways import DEADLINE, FunctionError, sample_api

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway, Starter

PAGE = "/_gateway/page/"
READS = ["activity", "connections", "apis"]
OURS = {HEADER: "1", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def gateway(start: Starter) -> RunningGateway:
    """A gateway with a page."""
    return await start(activity=Activity())


async def read(gateway: RunningGateway, what: str, **headers: str) -> tuple[int, Any]:
    """Ask what the page asks."""
    async with gateway.client.get(f"{gateway.url}{PAGE}{what}", headers={**OURS, **headers}) as answer:
        return answer.status, await answer.json()


class Reader:
    """Reads a gateway's activity, as the page does: each answer goes on where the one before ended."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway, self._last = gateway, ""
        self.entries: list[dict[str, Any]] = []

    async def sees(self, kind: str, **facts: Any) -> dict[str, Any]:
        """Wait for an entry with some facts."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for entry in self.entries:
                    if entry["kind"] == kind and facts.items() <= entry.items():
                        return entry
                _, answer = await read(self._gateway, f"activity?after={self._last}")
                self._last = answer["last"]
                self.entries += answer["entries"]


# ---- who may read it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", PAGE])
async def test_the_page_stands_at_the_root_and_beside_control(gateway: RunningGateway, path: str) -> None:
    async with gateway.client.get(gateway.url + path) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert "<title>samsocket</title>" in await answer.text()
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


async def test_the_page_loads_nothing_that_its_own_policy_forbids(gateway: RunningGateway) -> None:
    async with gateway.client.get(gateway.url + "/") as answer:
        text = await answer.text()
    assert "style=" not in text
    assert "onclick" not in text
    assert "http:" not in text.replace("http://localhost", "")
    for name in ("page.css", "page.mjs", "log.mjs", "apis.mjs", "entries.mjs", "dom.mjs", "icon.svg"):
        async with gateway.client.get(f"{gateway.url}{PAGE}{name}") as answer:
            assert answer.status == 200, name
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_without_a_page_the_root_is_forbidden_as_on_aws(start: Starter) -> None:
    gateway = await start()
    for path, status in (("/", 403), (PAGE, 404), (f"{PAGE}activity", 404)):
        async with gateway.client.get(gateway.url + path, headers=OURS) as answer:
            assert answer.status == status


async def test_another_server_keeps_the_root(start: Starter) -> None:
    gateway = await start(activity=Activity(), fallback_url="http://127.0.0.1:1")
    async with gateway.client.get(gateway.url + "/") as answer:
        assert answer.status == 502  # asked, and not there
    async with gateway.client.get(gateway.url + PAGE) as answer:
        assert answer.status == 200


async def test_a_handshake_at_the_root_is_no_request_for_the_page(gateway: RunningGateway) -> None:
    assert (await gateway.refused("/")).status == 403


async def test_an_apis_own_host_name_has_no_page_at_the_root(start: Starter) -> None:
    gateway = await start(sample_api(name="Chat"), activity=Activity())
    assert (await ask(gateway, "/", "Host: localhost"))[0] == 200
    assert (await ask(gateway, "/", "Host: chat.localhost"))[0] == 403
    assert (await ask(gateway, "/", "Host: realtime.execute-api.us-east-1.amazonaws.com"))[0] == 403


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/", PAGE, f"{PAGE}page.mjs", *(f"{PAGE}{what}" for what in READS)])
async def test_a_foreign_host_gets_nothing_of_the_page(gateway: RunningGateway, path: str, host: str) -> None:
    status, text = await ask(gateway, path, f"Host: {host}", f"{HEADER}: 1")
    assert status == 421
    assert "samsocket" not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example", HEADER: "1"},
        {"Origin": "http://localhost:3000", HEADER: "1"},
        {"Origin": "null", HEADER: "1"},
        {"Sec-Fetch-Site": "cross-site", HEADER: "1"},
        {"Sec-Fetch-Site": "same-site", HEADER: "1"},  # another port of this machine
        {"Sec-Fetch-Site": "same-origin"},
        {},
    ],
)
@pytest.mark.parametrize("what", READS)
async def test_no_other_page_reads_what_the_page_reads(
    gateway: RunningGateway, what: str, headers: dict[str, str]
) -> None:
    client = await gateway.connect()
    await client.send("a secret")
    assert await client.receive() == "echo a secret"
    async with gateway.client.get(f"{gateway.url}{PAGE}{what}", headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 403
        assert "secret" not in text
        assert client.connection_id not in text
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


async def test_a_browsers_question_whether_another_origin_may_send_the_header_is_refused(
    gateway: RunningGateway,
) -> None:
    headers = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": HEADER,
    }
    async with gateway.client.options(f"{gateway.url}{PAGE}activity", headers=headers) as answer:
        assert answer.status == 405
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_the_page_only_reads(gateway: RunningGateway, method: str) -> None:
    async with gateway.client.request(method, f"{gateway.url}{PAGE}activity", headers=OURS) as answer:
        assert answer.status == 405


async def test_another_machine_reads_nothing(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await start(activity=Activity())
    monkeypatch.setattr("aiohttp.web_request.BaseRequest.remote", "192.168.1.7")
    assert (await read(gateway, "apis"))[0] == 403
    monkeypatch.setattr("aiohttp.web_request.BaseRequest.remote", "::ffff:127.0.0.1")
    assert (await read(gateway, "apis"))[0] == 200


@pytest.mark.parametrize("name", ["../control.py", "%2e%2e/control.py", "__init__.py", "nothing", "page.css/"])
async def test_no_other_file_is_served(gateway: RunningGateway, name: str) -> None:
    url = URL(f"{gateway.url}{PAGE}{name}", encoded=True)
    async with gateway.client.get(url, headers=OURS) as answer:
        assert answer.status in (403, 404)
        assert "import" not in await answer.text()


# ---- what it reads ---------------------------------------------------------------------------------------------------


async def test_a_connection_is_seen_from_its_handshake_to_its_end(gateway: RunningGateway) -> None:
    reader = Reader(gateway)
    client = await gateway.connect("/ws/feed?token=secret")
    about = {"api": "realtime", "stage": "feed", "id": client.connection_id}
    answered = await reader.sees("answered", **about, route="$connect", status=200)
    assert answered["took"] >= 0
    await reader.sees("opened", **about, ip="127.0.0.1")
    await client.close(4000, b"done")
    await reader.sees("closed", **about, code=4000, reason="done")
    await reader.sees("answered", **about, route="$disconnect", status=200)
    assert "secret" not in str(reader.entries)


async def test_frames_are_seen_each_way_with_their_route_status_and_time(gateway: RunningGateway) -> None:
    reader = Reader(gateway)
    client = await gateway.connect()
    await client.send("hello")
    heard = await reader.sees("heard", id=client.connection_id, text="hello", route="$default", bytes=5)
    answered = await reader.sees("answered", of=heard["n"], status=200)
    assert answered["took"] > 0
    await reader.sees("sent", id=client.connection_id, text="echo hello", origin="answer", bytes=10)
    await gateway.post(client.connection_id, "from a backend")
    await reader.sees("sent", text="from a backend", origin="post")
    await gateway.control("POST", f"connections/{client.connection_id}/post", data=b"by hand")
    await reader.sees("sent", text="by hand", origin="control")


async def test_failures_are_seen_with_what_the_client_was_told(start: Starter, aws: FakeAws) -> None:
    def fail(_: Any) -> Any:
        raise FunctionError("no such room")

    aws.functions["default"] = fail
    gateway = await start(activity=Activity())
    reader = Reader(gateway)
    client = await gateway.connect()
    await client.send("hello")
    heard = await reader.sees("heard", text="hello")
    await reader.sees("answered", of=heard["n"], status=502)
    told = await reader.sees("sent", origin="error")
    assert "Internal server error" in told["text"]


async def test_a_refused_handshake_is_seen(start: Starter, aws: FakeAws) -> None:
    aws.functions["connect"] = lambda _: {"statusCode": 401}
    gateway = await start(activity=Activity())
    await gateway.refused()
    await Reader(gateway).sees("answered", route="$connect", status=401)


async def test_long_frames_are_cut_but_their_size_is_told(gateway: RunningGateway) -> None:
    reader = Reader(gateway)
    client = await gateway.connect()
    text = "é" * (TEXT_CHARACTERS + 1)
    await client.send(text)
    size = len(text.encode())
    heard = await reader.sees("heard", bytes=size)
    assert heard["text"] == "é" * TEXT_CHARACTERS + "…"
    sent = await reader.sees("sent", bytes=size + 5)
    assert sent["text"] == f"echo {text}"[:TEXT_CHARACTERS] + "…"


async def test_open_connections_are_listed_by_stage(gateway: RunningGateway) -> None:
    first, second = await gateway.connect("/ws/feed"), await gateway.connect("/ws/feed")
    status, stages = await read(gateway, "connections")
    assert status == 200
    calls, feed = stages
    assert (calls["stage"], calls["path"], calls["open"], calls["connections"]) == ("calls", "/ws/calls", 0, [])
    assert (feed["stage"], feed["path"], feed["open"]) == ("feed", "/ws/feed", 2)
    ids = [connection["connection_id"] for connection in feed["connections"]]
    assert ids == [second.connection_id, first.connection_id]


async def test_the_path_of_a_stage_that_two_apis_have_names_the_api(start: Starter) -> None:
    chat, news = sample_api(api_id="one", name="Chat"), sample_api(api_id="two", name="News", stages={"feed": {}})
    gateway = await start(chat, news, activity=Activity())
    _, stages = await read(gateway, "connections")
    assert [stage["path"] for stage in stages] == ["/ws/calls", "/Chat/feed", "/News/feed"]
    assert (await ask(gateway, "/News/feed", "Host: localhost", *(f"{k}: {v}" for k, v in HANDSHAKE.items())))[0] == 101


async def test_routes_say_where_they_lead(start: Starter) -> None:
    api = sample_api(name="Chat", notes=("Route (x): RequestModels are not checked",))
    gateway = await start(api, activity=Activity())
    _, (shown,) = await read(gateway, "apis")
    assert (shown["name"], shown["selection"]) == ("Chat", "$request.body.action")
    assert shown["notes"] == ["Route (x): RequestModels are not checked"]
    routes = {route["key"]: route for route in shown["routes"]}
    assert list(routes) == ["$connect", "$default", "$disconnect", "note"]
    default = routes["$default"]
    assert (default["target"], default["kind"], default["answers"]) == ("default", "AWS_PROXY", True)
    assert (routes["note"]["answers"], routes["note"]["authorization"]) == (False, "NONE")


async def test_a_new_template_is_seen_and_its_routes_are_shown(gateway: RunningGateway) -> None:
    reader = Reader(gateway)
    await reader.sees("adopted")
    gateway.gateway.adopt([sample_api(stages={"new": {}})])
    reader.entries.clear()
    await reader.sees("adopted")
    assert [stage["stage"] for stage in (await read(gateway, "connections"))[1]] == ["new"]


async def test_a_page_that_waits_does_not_hold_up_the_end(start: Starter) -> None:
    activity = Activity()
    gateway = await start(activity=activity)
    cursor = (await read(gateway, "activity?after="))[1]["last"]
    waiting = asyncio.create_task(read(gateway, f"activity?after={cursor}"))

    async def waits() -> bool:
        await asyncio.sleep(0)
        return activity._waiting is not None

    await gateway.until(waits)
    async with asyncio.timeout(DEADLINE):
        await gateway.gateway.close()
        assert (await waiting)[1]["entries"] == []
