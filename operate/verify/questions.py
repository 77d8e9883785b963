"""Questions about API Gateway that no document answers, put to API Gateway itself. An answer is a fact, not a fault.

docs/verify.md says which question in our documents each of them answers.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from botocore.exceptions import ClientError
from yarl import URL

from operate.errors import CommandError
from operate.verify.cleanup import PROBE_MAPPING
from operate.verify.client import Client, ClosedError, Message
from operate.verify.diagnosis import explain, is_denied
from operate.verify.door import OPEN, PONG
from operate.verify.lines import SkippedError
from operate.verify.run import VerifyRun
from operate.verify.runner import WITHIN, Notes, Passing, Scene
from operate.verify.telling import take

LARGE_BYTES = 33 * 1024
TOO_LARGE_BYTES = 131_073
_UNKNOWN_ID = base64.b64encode(b"verifyverify").decode()[:15] + "="
_CHARACTERS = {
    "noncharacter": ("U+FFFE", '"\ufffe"'),
    "surrogate": ("a lone surrogate, escaped", '"\\ud800"'),
    "control": ("a control character, escaped", '"\\u0001"'),
}
_REACHED_WITHIN = 15.0


# ---- the management API ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def asking(notes: Notes, key: str, within: float = WITHIN) -> AsyncIterator[Passing]:
    """Ask one question. The end of a connection, a refusal by AWS or a missing message is an answer, not a fault."""
    async with notes.line(key, within=within + 5) as line:
        try:
            async with asyncio.timeout(within):
                yield line
        except ClosedError as end:
            line.finds(f"the connection is closed with {end.code}", code=end.code)
        except TimeoutError:
            line.finds(f"nothing came within {within:g} s")
        except ClientError as error:
            if is_denied(error):
                raise SkippedError(explain(error).says) from error
            line.finds(_answer(error))


def _answer(error: ClientError) -> str:
    described: dict[str, Any] = dict(error.response)
    problem = described.get("Error", {})
    status = described.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return f"{status} {problem.get('Code', '')} {problem.get('Message', '')!r}"


async def _posts(run: VerifyRun, notes: Notes) -> None:
    """Ask what a post does. Each post gets its own connection, because it may be the last one for that connection."""
    for key, ask in (
        ("question.last-active", _last_active),
        ("question.not-utf-8", _not_utf_8),
        ("question.ids", _ids),
        ("question.too-large", _too_large),
        ("question.large", _large),
        ("question.delete", _delete),
    ):
        async with run.connect("notifications", run.new_user()) as client, asking(notes, key) as line:
            await ask(run, client, line)


async def _not_utf_8(run: VerifyRun, client: Client, line: Passing) -> None:
    await _post(run, client, b'{"type":"verify","data":{"text":"\xff"}}')
    message = await client.hears("verify")
    line.finds(f"the byte FF came as {message['data']['text']!a}")


async def _ids(run: VerifyRun, _client: Client, line: Passing) -> None:
    malformed = await _status(run, "not an id", b"{}")
    unknown = await _status(run, _UNKNOWN_ID, b"{}")
    line.finds(f"malformed: {malformed}; well-formed but unknown: {unknown}", malformed=malformed, unknown=unknown)


async def _too_large(run: VerifyRun, client: Client, line: Passing) -> None:
    line.finds(f"{TOO_LARGE_BYTES:,} bytes: {await _status(run, client.connection_id, b'x' * TOO_LARGE_BYTES)}")


async def _delete(run: VerifyRun, client: Client, line: Passing) -> None:
    await run.manage("notifications", "delete_connection", ConnectionId=client.connection_id)
    code, reason = await client.closed()
    line.finds(f"closed with {code}, reason {reason!r}", code=code, reason=reason)


async def _post(run: VerifyRun, client: Client, data: bytes) -> None:
    await run.manage("notifications", "post_to_connection", ConnectionId=client.connection_id, Data=data)


async def _status(run: VerifyRun, connection_id: str, data: bytes) -> str:
    """Return the answer to a post, in words."""
    try:
        await run.manage("notifications", "post_to_connection", ConnectionId=connection_id, Data=data)
    except ClientError as error:
        if is_denied(error):
            raise
        return _answer(error)
    return "accepted"


async def _last_active(run: VerifyRun, client: Client, line: Passing) -> None:
    moved: dict[str, bool] = {}
    before = await _active_at(run, client)
    for what in ("a protocol ping", "a post", "a message"):
        await asyncio.sleep(1.2)  # the moment may be told in whole seconds
        if what == "a protocol ping":
            await client.socket.ping()
            await asyncio.sleep(0.3)
        elif what == "a post":
            await _post(run, client, b'{"type":"verify","data":{}}')
            await client.hears("verify")
        else:
            await client.pings()
        after = await _active_at(run, client)
        moved[what], before = after > before, after
    line.finds(
        ", ".join(f"{what} {'moves' if does else 'does not move'} it" for what, does in moved.items()), moved=moved
    )


async def _active_at(run: VerifyRun, client: Client) -> float:
    answer = await run.manage("notifications", "get_connection", ConnectionId=client.connection_id)
    return float(answer["LastActiveAt"].timestamp())


async def _large(run: VerifyRun, client: Client, line: Passing) -> None:
    frame = json.dumps({"type": "verify", "data": {"pad": "x" * LARGE_BYTES}}).encode()
    await _post(run, client, frame)
    try:
        message = await client.hears("verify")
    except ClosedError as end:
        line.finds(
            f"a post of {len(frame):,} bytes is accepted, and the connection closed with {end.code}", code=end.code
        )
    else:
        whole = len(message["data"]["pad"]) == LARGE_BYTES
        line.finds(f"a post of {len(frame):,} bytes arrives {'whole' if whole else 'cut off'}", arrives=whole)


# ---- handshakes -----------------------------------------------------------------------------------------------------


def _upgrade() -> dict[str, str]:
    key = base64.b64encode(os.urandom(16)).decode()
    return {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}


async def _handshakes(run: VerifyRun, notes: Notes) -> None:
    base = _http(run.deployment.websocket_url)
    async with asking(notes, "question.refused-body") as line:
        answers = {"an unknown stage": await _get(run, f"{base}/verify-unknown", _upgrade())}
        if run.parameters.get("RejectionMode") == "handshake":
            answers["a bad token, refused by the function"] = await _get(run, f"{base}/feed?token=bad", _upgrade())
        line.finds("; ".join(f"{what}: {answer}" for what, answer in answers.items()), answers=answers)
    async with asking(notes, "question.no-handshake") as line:
        incomplete = {name: value for name, value in _upgrade().items() if name != "Sec-WebSocket-Key"}
        answers = {
            "no upgrade": await _get(run, f"{base}/feed", {}),
            "no key": await _get(run, f"{base}/feed", incomplete),
            "a URL of 4,200 characters": await _get(run, f"{base}/feed?pad={'x' * 4200}", _upgrade()),
        }
        line.finds("; ".join(f"{what}: {answer}" for what, answer in answers.items()), answers=answers)
    token = run.token(run.new_user())
    async with asking(notes, "question.compression") as line, run.open("feed", token, compress=15) as client:
        used = bool(client.socket.compress)
        line.finds("permessage-deflate is negotiated" if used else "not negotiated when offered", negotiated=used)
    async with asking(notes, "question.left-early") as line:
        await _leave_early(run, line)


def _http(url: str) -> str:
    return "http" + url.removeprefix("ws")


async def _get(run: VerifyRun, url: str, headers: dict[str, str]) -> str:
    try:
        async with run.http.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as answer:
            if answer.status == 101:
                return "101"
            body = await answer.content.read(300)
            return f"{answer.status}, body {body.decode(errors='replace')!r}"
    except aiohttp.ClientError as error:
        return type(error).__name__


async def _leave_early(run: VerifyRun, line: Passing) -> None:
    """Send a handshake, leave before it is answered, and observe what happens to the connection."""
    user = run.new_user()
    url = URL(f"{_http(run.deployment.websocket_url)}/calls").with_query(token=run.token(user))
    context = ssl.create_default_context() if url.scheme == "https" else None
    _, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
    headers = "".join(f"{name}: {value}\r\n" for name, value in {"Host": url.authority, **_upgrade()}.items())
    writer.write(f"GET {url.raw_path_qs} HTTP/1.1\r\n{headers}\r\n".encode())
    await writer.drain()
    await asyncio.sleep(0.03)  # long enough to get there, too short to be answered
    writer.transport.abort()
    began, registered = time.monotonic(), 0.0
    while time.monotonic() - began < 12:
        found = await run.connections_of(user)
        if found and not registered:
            registered = time.monotonic()
            run.connection_ids.extend(found)
        if registered and not found:
            line.finds(
                f"$disconnect came: registered, and forgotten {time.monotonic() - registered:.1f} s later", told=True
            )
            return
        await asyncio.sleep(0.02)
    if registered:
        line.finds("no $disconnect within 12 s: the connection stays registered until the sweep finds it", told=False)
    else:
        line.finds("it was not seen registered: $connect did not run, or the end of it was told within 0.1 s")


# ---- frames and events ----------------------------------------------------------------------------------------------


async def _frames(run: VerifyRun, notes: Notes) -> None:
    async with asking(notes, "question.select-connect") as line, run.connect("calls", run.new_user()) as client:
        answers = {}
        for kind in ("$connect", "$disconnect"):
            await client.send(kind)
            answers[kind] = _described(await client.hears(lambda _: True, "an answer"))
        line.finds("; ".join(f"{kind}: {answer}" for kind, answer in answers.items()), answers=answers)


def _described(message: Message) -> str:
    data = message.get("data", {})
    if message.get("type") == "error" and data.get("code") == "BAD_REQUEST":
        return "goes to $default, which answers BAD_REQUEST"
    return json.dumps(message)[:200]


async def _route_response(_run: VerifyRun, notes: Notes) -> None:
    notes.finds("question.auto-deploy", "a pong came, so the stages have the route response", deployed=True)


async def _empty_frames(run: VerifyRun, notes: Notes) -> None:
    count = run.unreadable_frames
    notes.finds(
        "question.empty-frames",
        f"{count} frames that are no JSON so far; each of our answers has a body, so that none is provoked",
        unreadable=count,
    )


async def _characters(run: VerifyRun, notes: Notes) -> None:
    user = run.new_user()
    async with run.connect("notifications", user) as client:
        for name, (what, text) in _CHARACTERS.items():
            async with asking(notes, f"question.{name}") as line:
                mark = f"{run.run_id}-{name}"
                detail = f'{{"text": {text}, "mark": "{mark}", "delivery": {{"to": ["{user}"]}}}}'
                line.finds(f"{what}: {await _fate(run, client, detail, mark)}")


async def _fate(run: VerifyRun, client: Client, detail: str, mark: str) -> str:
    """Find where an event ends, with its client or in a queue, and remove it from the queue."""
    try:
        event_id = await run.publish("system_notification", detail)
    except (CommandError, ClientError) as error:
        return f"EventBridge refuses it: {error}"
    ways: dict[asyncio.Task[Any], str] = {
        asyncio.create_task(client.hears(lambda each: each["data"].get("mark") == mark)): "reaches its client",
        **{
            asyncio.create_task(take(run, queue, lambda body: event_id in body or mark in body)): f"is in {queue}"
            for queue in ("RejectedEventsQueueUrl", "FailedEventsQueueUrl", "UndeliveredEventsQueueUrl")
        },
    }
    done, pending = await asyncio.wait(ways, timeout=_REACHED_WITHIN, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        found = task.result()
        if isinstance(found, str):
            return f"{ways[task]}, with the reason {found!r}" if found else ways[task]
        return f"{ways[task]} as {found['data'].get('text')!a}"
    return f"in no queue and with no client after {_REACHED_WITHIN:g} s (event {event_id})"


async def _cold_starts(run: VerifyRun, notes: Notes) -> None:
    seconds = run.handshake_seconds
    typical = statistics.median(seconds)
    notes.finds(
        "question.cold-start",
        f"the first handshake took {seconds[0]:.2f} s, the median of {len(seconds)} is {typical:.2f} s",
        first_seconds=round(seconds[0], 3),
        median_seconds=round(typical, 3),
        slowest_seconds=round(max(seconds), 3),
    )


# ---- questions that take long or change things -----------------------------------------------------------------------


async def _idle(run: VerifyRun, notes: Notes) -> None:
    if not run.options.slow:
        notes.skips("question.protocol-pings", "it takes 11 minutes; --slow asks for it")
        return
    async with (
        notes.line("question.protocol-pings", within=run.options.idle_seconds + 60) as line,
        run.connect("calls", run.new_user()) as pinging,
        run.connect("calls", run.new_user()) as silent,
    ):
        ends = [asyncio.create_task(client.closed()) for client in (pinging, silent)]
        began = time.monotonic()
        while (left := run.options.idle_seconds - (time.monotonic() - began)) > 0 and not all(
            end.done() for end in ends
        ):
            if not ends[0].done():
                with contextlib.suppress(ConnectionError):
                    await pinging.socket.ping()
            await asyncio.wait(ends, timeout=min(left, run.options.idle_seconds / 20))
        said = []
        for name, end in zip(("pinging", "silent"), ends, strict=True):
            said.append(f"{name}: {f'closed with {end.result()[0]}' if end.done() else 'open'}")
            end.cancel()
        line.finds(f"after {time.monotonic() - began:.0f} s {', '.join(said)}")


async def _mapping(run: VerifyRun, notes: Notes) -> None:
    domain = run.parameters.get("DomainName")
    if not domain or not run.options.probe_changes:
        reason = "the stack has no DomainName" if not domain else "it makes and removes a mapping; --probe-changes asks"
        notes.skips("question.mapping-key", reason)
        return
    async with notes.line("question.mapping-key") as line:
        try:
            made = await run.call(
                "apigatewayv2",
                "create_api_mapping",
                DomainName=domain,
                ApiMappingKey=PROBE_MAPPING,
                ApiId=run.outputs["ApiId"],
                Stage="feed",
            )
        except ClientError as error:
            if is_denied(error):
                raise
            line.finds(f"refused: {error.response.get('Error', {}).get('Message')}", taken=False)
            return
        await run.call("apigatewayv2", "delete_api_mapping", DomainName=domain, ApiMappingId=made["ApiMappingId"])
        line.finds("a key with a slash is taken", taken=True)


SCENES = [
    Scene(
        "posts",
        {
            "question.last-active": "What does lastActiveAt count?",
            "question.not-utf-8": "What becomes of a post that is not UTF-8?",
            "question.ids": "What does a post to a wrong connection id get?",
            "question.too-large": "What does a post of over 128 KB get?",
            "question.large": "Does a post of over 32 KB arrive?",
            "question.delete": "With what does DeleteConnection close?",
        },
        _posts,
        (OPEN, PONG),
    ),
    Scene(
        "handshakes",
        {
            "question.refused-body": "What is the body of a refused handshake?",
            "question.no-handshake": "What does a request get that is no handshake?",
            "question.compression": "Is compression negotiated?",
            "question.left-early": "Does $disconnect hear of who leaves during $connect?",
        },
        _handshakes,
        (OPEN,),
    ),
    Scene(
        "frames", {"question.select-connect": "Can a message select $connect or $disconnect?"}, _frames, (OPEN, PONG)
    ),
    Scene(
        "characters",
        {f"question.{name}": f"Where does an event with {what} end?" for name, (what, _) in _CHARACTERS.items()},
        _characters,
        (OPEN,),
    ),
    Scene(
        "auto-deploy", {"question.auto-deploy": "Does auto-deploy take up route responses?"}, _route_response, (PONG,)
    ),
    Scene("empty", {"question.empty-frames": "Are empty frames sent?"}, _empty_frames, ("talk.ack",)),
    Scene(
        "cold",
        {"question.cold-start": "How long does a cold start keep a client waiting?"},
        _cold_starts,
        (OPEN, "talk.ack"),
    ),
    Scene(
        "idle",
        {"question.protocol-pings": "Do protocol pings keep a connection past 10 idle minutes?"},
        _idle,
        (OPEN,),
        within=900,
    ),
    Scene(
        "mapping", {"question.mapping-key": "Does a WebSocket mapping key take a slash?"}, _mapping, ("setup.outputs",)
    ),
]
