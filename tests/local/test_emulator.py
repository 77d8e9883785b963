"""The check before the emulator: it does not read or run a request that it refuses."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samsocket.emulation.guarded import (
    HEALTH,
    Admission,
    Request,
    allow_batches_of_sqs,
    ending_at_once,
    share_layers,
)

EMULATOR = Path(__file__).parents[2] / ".tools" / "ministack"
PORT, GATEWAY_PORT = 4566, 8080
KEY, ROLE, SECRET = "AKIAABCDEFGHIJKLMNOP", "ASIAABCDEFGHIJKLMNOP", "the secret of both keys"
HEADERS = {
    "host": f"127.0.0.1:{PORT}",
    "x-amz-date": "20261126T120000Z",
    "authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20261126/us-east-1/lambda/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=good",
}
BODY = b'{"FunctionName": "of-a-page"}'

Pairs = list[tuple[bytes, bytes]]


class Emulator:
    """The application behind the check: records the requests that reach it, and lets any page read its answer."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.kinds: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.kinds.append(scope["type"])
        if scope["type"] == "http":
            body, more = b"", True
            while more:
                event = await receive()
                body, more = body + event["body"], event["more_body"]
            self.bodies.append(body)
            headers = [(b"Access-Control-Allow-Origin", b"*"), (b"access-control-expose-headers", b"*"), (b"x-a", b"1")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"done"})


class Caller:
    """Sends requests to a check without a socket; `reads` counts how often the check read from their bodies."""

    def __init__(self) -> None:
        self.emulator = Emulator()
        self.judged: list[tuple[Request, bytes, str]] = []
        self.reads = 0
        self._door = Admission(self.emulator, {PORT, GATEWAY_PORT}, {KEY: SECRET, ROLE: SECRET}.get, self._is_signed)

    def _is_signed(self, request: Request, body: bytes, secret: str) -> bool:
        self.judged.append((request, body, secret))
        return request.headers["authorization"].endswith("Signature=good")

    async def send(
        self,
        headers: Mapping[str, str | None] | Pairs = {},  # noqa: B006 - never changed
        *,
        method: str = "POST",
        path: str = "/2015-03-31/functions",
        query: bytes = b"",
        kind: str = "http",
    ) -> tuple[int, Pairs]:
        """Send a good request with some headers changed, or the given ones alone; its answer's status and headers."""
        if isinstance(headers, Mapping):
            merged = {name: value for name, value in {**HEADERS, **headers}.items() if value is not None}
            headers = [(name.encode(), value.encode()) for name, value in merged.items()]
        scope = {"type": kind, "path": path, "raw_path": path.encode(), "query_string": query, "headers": headers}
        parts = [BODY[:9], BODY[9:]]
        sent: list[Any] = []

        async def receive() -> Mapping[str, Any]:
            if kind == "websocket":
                return {"type": "websocket.connect"}
            self.reads += 1
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(event: Any) -> None:
            sent.append(event)

        await self._door({**scope, **({"method": method} if kind == "http" else {})}, receive, send)
        if sent[0]["type"] == "websocket.close":
            return 403, []
        assert [event["type"] for event in sent] == ["http.response.start", "http.response.body"]
        return sent[0]["status"], sent[0]["headers"]


@pytest.fixture
def caller() -> Caller:
    return Caller()


def credential(key: str) -> dict[str, str]:
    return {"authorization": HEADERS["authorization"].replace(KEY, key)}


PAGES = [
    {"origin": "https://elsewhere.example"},
    {"origin": "http://localhost:8080"},
    {"origin": "null"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-dest": "image"},
    {"access-control-request-method": "POST"},
]
HOSTS = [
    "rebound.example",
    f"rebound.example:{PORT}",
    f"localhost.rebound.example:{PORT}",
    f"bucket.localhost:{PORT}",
    f"realtime.execute-api.localhost:{PORT}",
    f"192.168.1.5:{PORT}",
    "127.0.0.1",
    "127.0.0.1:80",
    f"127.0.0.1:{PORT + 1}",
    f"localhost:{PORT}@rebound.example",
    "",
]
KEYS = ["test", "000000000000", "123456789012", "", "AKIAAAAAAAAAAAAAAAAA", KEY.lower(), f"{KEY} ", f"x{KEY}"]


async def refused(caller: Caller, status: int, *arguments: Any, **options: Any) -> None:
    """Send a request that must be refused: not read, not run, and without headers that let a page read the answer."""
    answered, headers = await caller.send(*arguments, **options)
    assert answered == status
    assert caller.emulator.bodies == []
    assert not [name for name, _ in headers if name.lower().startswith(b"access-control-")]


@pytest.mark.parametrize("mark", PAGES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
async def test_a_browser_is_refused_even_with_a_valid_signature(
    caller: Caller, mark: dict[str, str], method: str
) -> None:
    await refused(caller, 403, mark, method=method)
    assert caller.reads == 0


@pytest.mark.parametrize("mark", PAGES)
async def test_a_browser_is_refused_even_for_health(caller: Caller, mark: dict[str, str]) -> None:
    await refused(caller, 403, mark, method="GET", path=HEALTH)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", [HEALTH, "/2015-03-31/functions"])
async def test_a_foreign_host_or_another_port_is_refused(caller: Caller, host: str, path: str) -> None:
    await refused(caller, 421, {"host": host}, method="GET", path=path)
    assert caller.reads == 0


@pytest.mark.parametrize("hosts", [[], [HEADERS["host"], HEADERS["host"]], [HEADERS["host"], "rebound.example"]])
async def test_a_request_must_name_one_host(caller: Caller, hosts: list[str]) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name != "host"]
    await refused(caller, 421, [*pairs, *((b"Host", host.encode()) for host in hosts)])


@pytest.mark.parametrize("key", KEYS)
async def test_an_unknown_key_is_refused_before_the_body_is_read(caller: Caller, key: str) -> None:
    await refused(caller, 403, credential(key))
    assert caller.reads == 0


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer token",
        f"AWS {KEY}:signature",
        f"Credential={KEY}/a/b/c/d",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 =,",
    ],
)
async def test_a_request_without_a_signature_in_its_header_is_refused(
    caller: Caller, authorization: str | None
) -> None:
    await refused(caller, 403, {"authorization": authorization})
    assert caller.reads == 0


async def test_a_signature_in_the_url_is_ignored(caller: Caller) -> None:
    query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY}/20261126/us-east-1/ssm/aws4_request".encode()
    await refused(caller, 403, {"authorization": None}, method="GET", query=query + b"&X-Amz-Signature=good")


async def test_a_caller_with_the_key_but_without_its_secret_is_refused(caller: Caller) -> None:
    await refused(caller, 403, {"authorization": HEADERS["authorization"].replace("good", "00")})


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/config", f"{HEALTH}/", "/_ministack/ready"])
async def test_the_emulators_own_commands_need_a_signature_too(caller: Caller, path: str) -> None:
    await refused(caller, 403, {"authorization": None}, path=path)


async def test_websockets_are_refused(caller: Caller) -> None:
    await refused(caller, 403, kind="websocket", path="/_aws/execute-api/realtime/feed")
    assert caller.emulator.kinds == []


@pytest.mark.parametrize("key", [KEY, ROLE])
async def test_a_signed_request_comes_in_whole_and_its_answer_is_for_no_page(caller: Caller, key: str) -> None:
    status, headers = await caller.send(credential(key), query=b"a=1&b=")
    assert (status, headers) == (200, [(b"x-a", b"1")])
    assert caller.emulator.bodies == [BODY]
    ((request, body, secret),) = caller.judged
    assert (request.method, request.raw_path, request.query) == (
        "POST",
        "/2015-03-31/functions",
        {"a": ["1"], "b": [""]},
    )
    assert (body, secret) == (BODY, SECRET)


async def test_a_body_whose_hash_is_signed_is_passed_on_as_it_comes(caller: Caller) -> None:
    status, _ = await caller.send({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    assert (status, caller.emulator.bodies) == (200, [BODY])
    assert caller.judged[0][1] == b""


@pytest.mark.parametrize("host", [f"localhost:{PORT}", f"[::1]:{PORT}", f"localhost:{GATEWAY_PORT}"])
async def test_each_name_of_this_machine_is_accepted_with_a_port_of_the_stack(caller: Caller, host: str) -> None:
    assert (await caller.send({"host": host}))[0] == 200


async def test_the_fetch_of_node_does_not_count_as_a_browser(caller: Caller) -> None:
    assert (await caller.send({"sec-fetch-mode": "cors"}))[0] == 200


async def test_health_needs_no_signature(caller: Caller) -> None:
    assert (await caller.send({"authorization": None}, method="GET", path=HEALTH))[0] == 200


def emulators_module(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """A module in the place of one of the emulator's."""
    module = ModuleType(name)
    for each, its in (("ministack", ModuleType("ministack")), ("ministack.core", ModuleType("ministack.core"))):
        monkeypatch.setitem(sys.modules, each, its)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_the_right_to_an_action_of_sqs_includes_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS has no right sqs:SendMessageBatch."""
    actions = emulators_module(monkeypatch, "ministack.core.iam_actions")
    actions._action_from_target = lambda headers: headers["x-amz-target"].rsplit(".", 1)[-1]
    allow_batches_of_sqs()
    targets = ("AmazonSQS.SendMessageBatch", "AmazonSQS.SendMessage", "DynamoDB_20120810.RunBatch")
    names = [actions._action_from_target({"x-amz-target": target}) for target in targets]
    assert names == ["SendMessage", "SendMessage", "RunBatch"]


def test_the_processes_of_functions_share_a_layer_and_have_their_own_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else each cold start unpacks and compiles it anew."""
    runtime = emulators_module(monkeypatch, "ministack.core.lambda_runtime")
    share_layers()

    def unpack(text: str, process: str, name: str) -> Path:
        archive, folder = tmp_path / process / f"{name}.zip", tmp_path / process / name
        folder.mkdir(parents=True)
        with zipfile.ZipFile(archive, "w") as written:
            written.writestr(zipfile.ZipInfo("python/module.py"), text)
        with runtime.zipfile.ZipFile(archive) as read:
            read.extractall(folder)
        return (folder / "python/module.py").resolve()

    first, second = unpack("one", "a", "layer_0"), unpack("one", "b", "layer_1")
    assert first == second
    assert first.read_text() == "one"
    assert unpack("another", "c", "layer_0").read_text() == "another"
    assert unpack("one", "d", "code") == tmp_path / "d/code/python/module.py"
    assert runtime.zipfile.BadZipFile is zipfile.BadZipFile


def test_the_emulator_unpacks_layers_into_folders_of_the_name_that_is_looked_for() -> None:
    """Otherwise each process would unpack its own again, and nothing else would tell."""
    (runtime,) = EMULATOR.glob("lib/python*/site-packages/ministack/core/lambda_runtime.py")
    text = runtime.read_text(encoding="utf-8")
    assert 'f"layer_{len(layers_dirs)}"' in text
    assert "lzf.extractall(layer_dir)" in text


async def test_it_ends_with_its_shutdown_and_waits_for_nothing() -> None:
    done: list[str] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        done.append(scope["type"])

    application = ending_at_once(inside, lambda: done.append("ended"))
    for kind in ("http", "lifespan"):
        await application({"type": kind}, None, None)  # type: ignore[arg-type]
    assert done == ["http", "lifespan", "ended"]
