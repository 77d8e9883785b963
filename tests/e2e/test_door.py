"""No web page and no foreign host reaches anything that the stack starts, on any port: the attacks that once did."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import io
import json
import stat
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from harness.stack import WITHIN, Stack
from tests.e2e.browsing import chromium, needs_browser

ELSEWHERE = "elsewhere.example"  # a name of the attacker's, which is rebound to this machine
NAME = "of-a-page"
FUNCTIONS = "/2015-03-31/functions"
SSM = "AmazonSSM.GetParameter"
PARAMETER, TREASURE = "/tests/door", "what no page may read"
SECRETS = "secretsmanager.GetSecretValue"
TURNED_AWAY = ("answers no browser", "no such host name", "not a name of this gateway", "the page of a stack on this")


# ---- the ports ------------------------------------------------------------------------------------------------------


def family(root: int) -> set[int]:
    """A process and all its descendants."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets(pid: int) -> Iterator[str]:
    """The inodes of a process's sockets."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def listening(root: int) -> set[tuple[str, int]]:
    """The addresses, as the kernel writes them, and the ports on which a process and its descendants listen."""
    inodes = {inode for pid in family(root) for inode in sockets(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == "0A" and fields[9] in inodes:
                found.add((address, int(port, 16)))
    return found


@pytest.fixture
def ports(stack: Stack) -> list[int]:
    """Every port that the stack opened, its functions' processes included."""
    return sorted(port for _, port in listening(stack.running.pid))


def port_of(url: str) -> int:
    return urlsplit(url).port or 80


# ---- the attacks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """One request; its carrier sends `headers` in addition to its own."""

    what: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: str = ""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


def ask(port: int, attack: Attack) -> Answer:
    """Send a request as curl would: `headers` may name any host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    try:
        connection.request(attack.method, attack.target, attack.body.encode() or None, dict(attack.headers))
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, answer.read().decode(errors="replace"))
    finally:
        connection.close()


@cache
def archive(marker: str) -> str:
    """The code of a function that shows that it ran."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as code:
        code.writestr("index.py", f"open({marker!r}, 'w').close()\ndef handler(event, context):\n    return 'ran'\n")
    return base64.b64encode(packed.getvalue()).decode()


def in_query(key: str, service: str) -> str:
    """Credentials in the query string: a page can send them without asking first."""
    return urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{key}/{time.strftime('%Y%m%d', time.gmtime())}/us-east-1/{service}/aws4_request",
            "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": "00",
        }
    )


def in_header(key: str, service: str) -> dict[str, str]:
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{key}/{date[:8]}/us-east-1/{service}/aws4_request"
    return {
        "X-Amz-Date": date,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
    }


def calls(stack: Stack, marker: Path) -> list[tuple[str, str, str, str, dict[str, str], str]]:
    """The requests of an attacker: name, service, method, path, headers, body."""
    role = f"arn:aws:iam::000000000000:role/{stack.outputs['ConnectFunctionName']}"
    function = {
        "FunctionName": NAME,
        "Runtime": "python3.13",
        "Role": role,
        "Handler": "index.handler",
        "Code": {"ZipFile": archive(str(marker))},
    }
    place = stack.outputs["TokenKeys"]
    assert place.startswith("arn:")
    target = {"Content-Type": "application/x-amz-json-1.1"}
    parameter = json.dumps({"Name": PARAMETER, "WithDecryption": True})
    return [
        ("ListFunctions", "lambda", "GET", f"{FUNCTIONS}/", {}, ""),
        ("CreateFunction", "lambda", "POST", FUNCTIONS, {}, json.dumps(function)),
        ("Invoke", "lambda", "POST", f"{FUNCTIONS}/{NAME}/invocations", {}, "{}"),
        ("Invoke sweep", "lambda", "POST", f"{FUNCTIONS}/{stack.outputs['SweepFunctionName']}/invocations", {}, "{}"),
        ("GetParameter", "ssm", "POST", "/", {**target, "X-Amz-Target": SSM}, parameter),
        ("GetParameter by URL", "ssm", "POST", f"/?X-Amz-Target={SSM}&Action=GetParameter", {}, parameter),
        (
            "GetSecretValue",
            "secretsmanager",
            "POST",
            "/",
            {**target, "X-Amz-Target": SECRETS},
            f'{{"SecretId":"{place}"}}',
        ),
        ("GetCallerIdentity", "sts", "GET", "/?Action=GetCallerIdentity&Version=2011-06-15", {}, ""),
        ("ListBuckets", "s3", "GET", "/", {}, ""),
        ("reset", "", "POST", "/_ministack/reset", {}, ""),
        ("config", "", "POST", "/_ministack/config", {}, '{"lambda_svc.LAMBDA_EXECUTOR": "docker"}'),
        ("messages", "", "GET", "/_ministack/sqs/messages", {}, ""),
    ]


def attacks(stack: Stack, marker: Path, own_port: int) -> Iterator[Attack]:
    """Each of the calls, as pages, rebound names and other programs on this machine would make it."""
    loopback = f"127.0.0.1:{own_port}"
    key = stack.running.access_key
    page = {"Origin": f"https://{ELSEWHERE}", "Content-Type": "text/plain"}
    for what, service, method, path, headers, body in calls(stack, marker):
        joined = "&" if "?" in path else "?"
        for name in ("test", "000000000000", key, "AKIAIOSFODNN7EXAMPLE"):
            url = f"{path}{joined}{in_query(name, service or 's3')}"
            signed = in_header(name, service or "s3")
            yield Attack(f"{what}, a page with key {name[:4]}", method, url, {"Host": loopback} | headers | page, body)
            yield Attack(f"{what}, without Origin, key {name[:4]}", method, url, {"Host": loopback} | headers, body)
            yield Attack(f"{what}, a rebound name", method, url, {"Host": f"{ELSEWHERE}:{own_port}"} | headers, body)
            yield Attack(f"{what}, key {name[:4]}", method, path, {"Host": loopback} | headers | signed, body)
        yield Attack(f"{what}, no key", method, path, {"Host": loopback} | headers, body)
        yield Attack(
            f"{what}, asking first",
            "OPTIONS",
            path,
            {"Host": loopback, **page, "Access-Control-Request-Method": method},
        )


def functions(stack: Stack) -> set[str]:
    pages = stack.aws("lambda").get_paginator("list_functions").paginate()
    return {function["FunctionName"] for page in pages for function in page["Functions"]}


def secrets_of(stack: Stack) -> list[str]:
    """Texts that no answer may contain."""
    return [*stack.deployment.token_keys().values(), stack.running.secret_key, TREASURE]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists after an attacker's code ran."""
    return tmp_path / "ran"


@pytest.fixture
def unharmed(stack: Stack, marker: Path) -> Iterator[None]:
    """Check that the attack created, ran and removed nothing."""
    ssm = stack.aws("ssm")
    ssm.put_parameter(Name=PARAMETER, Value=TREASURE, Type="SecureString", Overwrite=True)
    before = functions(stack)
    yield
    assert not marker.exists()
    assert functions(stack) == before
    assert NAME not in before
    assert ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"] == TREASURE


# ---- the door -------------------------------------------------------------------------------------------------------


def test_the_stack_listens_on_this_machine_alone(stack: Stack, ports: list[int]) -> None:
    running = stack.running
    assert {port_of(running.aws_endpoint_url), port_of(running.page_url)} < set(ports)
    assert {address for address, _ in listening(running.pid)} == {"0100007F"}


@pytest.mark.usefixtures("unharmed")
def test_every_port_refuses_requests_of_pages_and_unknown_callers(stack: Stack, ports: list[int], marker: Path) -> None:
    emulator, secrets = port_of(stack.running.aws_endpoint_url), secrets_of(stack)
    for port in ports:
        for attack in attacks(stack, marker, port):
            answer = ask(port, attack)
            where = f"{attack.what} at {port}: {answer}"
            assert not [name for name in answer.headers if name.startswith("access-control-")], where
            assert not [secret for secret in secrets if secret in answer.text], where
            assert NAME not in answer.text, where
            if port == emulator:
                assert answer.status in (403, 421), where


@pytest.mark.usefixtures("unharmed")
def test_a_browser_and_another_host_name_are_refused_even_with_the_runs_own_signature(stack: Stack) -> None:
    running, port = stack.running, port_of(stack.running.aws_endpoint_url)
    request = AWSRequest("GET", f"{running.aws_endpoint_url}{FUNCTIONS}/")
    SigV4Auth(Credentials(running.access_key, running.secret_key), "lambda", running.region).add_auth(request)
    headers = {"Host": f"127.0.0.1:{port}", **dict(request.headers.items())}
    assert ask(port, Attack("signed", "GET", f"{FUNCTIONS}/", headers)).status == 200
    marks = ({"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": f"{ELSEWHERE}:{port}"})
    for mark in marks:
        assert ask(port, Attack("marked", "GET", f"{FUNCTIONS}/", headers | mark)).status in (403, 421)


@pytest.mark.usefixtures("unharmed")
def test_the_runs_own_signature_is_refused_in_a_url(stack: Stack) -> None:
    running, port = stack.running, port_of(stack.running.aws_endpoint_url)
    request = AWSRequest("GET", f"{running.aws_endpoint_url}{FUNCTIONS}/")
    SigV4QueryAuth(Credentials(running.access_key, running.secret_key), "lambda", running.region).add_auth(request)
    url = urlsplit(str(request.url))
    assert "X-Amz-Signature" in url.query
    assert ask(port, Attack("presigned", "GET", f"{url.path}?{url.query}", {})).status == 403


def test_a_key_that_the_emulator_gave_to_a_role_is_accepted_only_with_its_secret(stack: Stack) -> None:
    iam, sts = stack.aws("iam"), stack.aws("sts")
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    user = f"user-{stack.new_user()}"
    iam.create_user(UserName=user)
    role = iam.create_role(RoleName=f"role-{user}", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    key = iam.create_access_key(UserName=user)["AccessKey"]
    session = sts.assume_role(RoleArn=role, RoleSessionName="door")["Credentials"]

    def identity(**credentials: str) -> str:
        client: Any = boto3.client(  # type: ignore[call-overload]
            "dynamodb", endpoint_url=stack.running.aws_endpoint_url, region_name="us-east-1", **credentials
        )
        with pytest.raises(ClientError) as refused:
            client.describe_table(TableName="none")
        return str(refused.value)

    names = {"aws_session_token": session["SessionToken"]}
    ids = [
        ({"aws_access_key_id": key["AccessKeyId"]}, key["SecretAccessKey"]),
        ({"aws_access_key_id": session["AccessKeyId"], **names}, session["SecretAccessKey"]),
    ]
    for given, secret in ids:
        assert "AccessDenied" in identity(aws_secret_access_key=secret, **given)  # the emulator's, by its policies
        assert "UnrecognizedClient" in identity(aws_secret_access_key="guessed", **given)


def test_the_keys_of_functions_cannot_be_derived_from_their_names(stack: Stack) -> None:
    """The emulator derives it from the names of function and role, which are the same on every machine."""
    name = stack.outputs["ConnectFunctionName"]
    configuration = stack.aws("lambda").get_function_configuration(FunctionName=name)
    for arn in (configuration["FunctionArn"], f"{configuration['FunctionArn']}:live"):
        digest = hashlib.sha256(f"{arn}:{configuration['Role']}".encode()).hexdigest()
        secrets = boto3.client(
            "secretsmanager",
            endpoint_url=stack.running.aws_endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=f"ASIA{digest[:16].upper()}",
            aws_secret_access_key=hashlib.sha256(f"secret:{digest}".encode()).hexdigest(),
            aws_session_token=hashlib.sha256(f"token:{digest}".encode()).hexdigest(),
        )
        with pytest.raises(ClientError, match="access key of this run"):
            secrets.get_secret_value(SecretId=stack.outputs["TokenKeys"])


def workers(stack: Stack) -> list[Path]:
    """The processes that run functions."""
    processes = [Path(f"/proc/{pid}") for pid in family(stack.running.pid)]
    return [process for process in processes if b"_worker.py" in (process / "cmdline").read_bytes()]


async def test_the_runs_key_is_in_no_log_and_no_functions_environment(stack: Stack) -> None:
    async with stack.connect("feed", stack.new_user()):
        environments = [(process / "environ").read_text() for process in workers(stack)]
    assert environments
    said = stack.logs()
    for secret in (stack.running.access_key, stack.running.secret_key):
        assert secret not in said
        assert not [text for text in environments if secret in text]


def test_the_runs_key_is_in_one_file_that_no_other_user_of_the_machine_can_read(stack: Stack) -> None:
    secret = stack.running.secret_key.encode()
    files = [path for path in stack.folder.path.rglob("*") if path.is_file()]
    with_secret = [path for path in files if secret in path.read_bytes()]
    assert with_secret == [stack.folder.path / "state.json"]
    assert stat.S_IMODE(with_secret[0].stat().st_mode) == 0o600


@pytest.mark.usefixtures("unharmed")
async def test_a_rebound_name_reads_no_connections(stack: Stack) -> None:
    async with stack.connect("feed", stack.new_user()):
        for path in ("/_gateway/connections", "/_gateway/settings", "/", "/ws/feed"):
            host = {"Host": f"{ELSEWHERE}:{port_of(stack.running.page_url)}"}
            attack = Attack("a rebound name", "GET", path, host)
            answer = await asyncio.to_thread(ask, port_of(stack.running.page_url), attack)
            assert answer.status == 421


# ---- in a browser ---------------------------------------------------------------------------------------------------

SCRIPT = """
const [requests, sockets, done] = arguments;
const found = [];
const within = (promise) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no("slow"), 10000))]);
async function fetched({what, url, method, body}) {
  for (const mode of ["cors", "no-cors"]) {
    for (const type of mode === "cors" ? ["text/plain", "application/x-amz-json-1.1"] : ["text/plain"]) {
      try {
        const sent = {mode, method, credentials: "include"};
        if (body) Object.assign(sent, {body, headers: {"Content-Type": type}});
        const answer = await within(fetch(url, sent));
        found.push({what, how: mode, status: answer.status, text: await answer.text()});
      } catch (error) { found.push({what, how: mode, failed: String(error)}); }
    }
  }
}
async function posted({what, url, method, body}) {
  const frame = document.createElement("iframe");
  frame.name = "frame" + Math.random();
  document.body.append(frame);
  const form = document.body.appendChild(document.createElement("form"));
  Object.assign(form, {action: url, method, target: frame.name, enctype: "text/plain"});
  const field = form.appendChild(document.createElement("input"));
  field.name = body.slice(0, -1); field.value = body.slice(-1);
  const loaded = new Promise((yes) => { frame.onload = yes; });
  form.submit();
  try {
    await within(loaded);
    found.push({what, how: "form", text: frame.contentDocument ? frame.contentDocument.body.innerText : ""});
  } catch (error) { found.push({what, how: "form", failed: String(error)}); }
  frame.remove(); form.remove();
}
function socket(url) {
  return new Promise((yes) => {
    const heard = [];
    const websocket = new WebSocket(url);
    const end = () => { found.push({what: url, how: "socket", text: heard.join()}); websocket.close(); yes(); };
    websocket.onmessage = ({data}) => heard.push(data);
    websocket.onclose = end;
    setTimeout(end, 10000);
  });
}
(async () => {
  for (const request of requests) { await fetched(request); if (request.body) await posted(request); }
  await Promise.all(sockets.map(socket));
  done(found);
})();
"""


class _AttackersPage(BaseHTTPRequestHandler):
    """An empty page, whose actions the test controls."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>elsewhere</title><body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The port of the attacker's web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _AttackersPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@needs_browser
@pytest.mark.usefixtures("unharmed")
async def test_a_page_of_another_origin_gets_nothing_by_fetch_form_or_websocket(
    stack: Stack, ports: list[int], marker: Path, elsewhere: int, tmp_path: Path
) -> None:
    requests = [
        {
            "what": f"{what} at {port}",
            "url": f"http://127.0.0.1:{port}{path}{'&' if '?' in path else '?'}{in_query(key, service)}",
        }
        | {"method": method, "body": body}
        for port in ports
        for what, service, method, path, _, body in [
            *calls(stack, marker),
            ("connections", "", "GET", "/_gateway/connections", {}, ""),
            ("settings", "", "POST", "/_gateway/settings", {}, '{"max_age": 1}'),
            ("a token", "", "POST", "/_local/token", {}, '{"user": "5"}'),
            ("the logs", "", "POST", "/_local/flow", {}, "{}"),
            ("an event", "", "POST", "/_local/events", {}, '{"type": "session_revoked", "detail": {"user_id": 5}}'),
        ]
        for key in ("test", stack.running.access_key)
    ]
    paths = ("/", "/ws/feed", "/_aws/execute-api/realtime/feed")
    sockets = [f"ws://127.0.0.1:{port}{path}" for port in ports for path in paths]

    def browse() -> tuple[list[Any], list[str]]:
        # The attacker's name resolves to this machine: newer browsers send it no requests from pages of other names.
        with chromium(tmp_path / "profile", f"host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1") as browser:
            browser.set_script_timeout(120)
            browser.get(f"http://{ELSEWHERE}:{elsewhere}/")
            found = browser.execute_async_script(SCRIPT, requests, sockets)
            rebound = []
            for port in ports:
                for path in (
                    "/",
                    "/_gateway/connections",
                    "/_ministack/health",
                    f"{FUNCTIONS}/?{in_query('test', 'lambda')}",
                ):
                    browser.get(f"http://{ELSEWHERE}:{port}{path}")
                    rebound.append(browser.page_source)
            return found, rebound

    async with stack.connect("feed", stack.new_user()) as client:
        found, rebound = await asyncio.to_thread(browse)
        await client.pings()  # no settings were changed: it is still there
    secrets = secrets_of(stack)
    assert {each["how"] for each in found} == {"cors", "no-cors", "form", "socket"}
    for each in found:
        text = each.get("text", "")
        if each["how"] == "socket" and text:  # clients may be pages of any origin; without a token they hear this alone
            assert json.loads(text)["data"]["code"] == "AUTH_FAILED", each
        else:
            assert text == "", each
        assert each.get("status", 0) == 0, each  # an opaque answer has none
        assert not [secret for secret in secrets if secret in text]
    for source in rebound:
        assert "connection_id" not in source
        assert '"services"' not in source
        assert any(said in source for said in TURNED_AWAY), source
