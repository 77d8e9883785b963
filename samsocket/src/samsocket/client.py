"""Commands that use a gateway which runs: a client on the command line, and what can be done to connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import ssl
import sys
import termios
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import click
from yarl import URL

from samsocket.environments import CERTIFICATE, authority

_PROMPT: Final = "> "
_SWITCHING: Final = 101

port_option = click.option("-p", "--port", type=click.IntRange(1, 65535), default=3001, help="Of the gateway.")
header_option = click.option("-H", "--header", "headers", multiple=True, metavar="'Name: value'")
subprotocol_option = click.option("-s", "--subprotocol", "subprotocols", multiple=True)


@click.command()
@click.argument("url", required=False)
@port_option
@header_option
@subprotocol_option
def connect(url: str | None, port: int, headers: tuple[str, ...], subprotocols: tuple[str, ...]) -> None:
    """Open a connection: each line that you type is sent, each frame that comes is shown.

    URL is ws://localhost:3001/{stage}, or the stage alone; without it the first stage is taken.
    """
    _run(_connect(url, port, headers, subprotocols))


@click.command()
@click.argument("message")
@click.argument("url", required=False)
@port_option
@header_option
@subprotocol_option
@click.option("--wait", type=click.FloatRange(0), default=3.0, help="Seconds of silence after which it ends.")
@click.option("--count", type=click.IntRange(1), help="Frames after which it ends.")
def send(
    message: str,
    url: str | None,
    port: int,
    headers: tuple[str, ...],
    subprotocols: tuple[str, ...],
    wait: float,
    count: int | None,
) -> None:
    """Connect, send one message, and show what comes."""
    _run(_send(message, url, port, headers, subprotocols, wait, count))


@click.command("ls")
@port_option
def list_connections(port: int) -> None:
    """List the open connections: id, stage, address, age."""
    for row in _run(_control(port, "GET", "connections")) or []:
        age = time.time() - row["connected_at"] / 1000
        click.echo(f"{row['connection_id']}  {row['stage']}  {row['source_ip']}  {age:.0f} s")


@click.command()
@click.argument("connection_id")
@click.argument("text")
@port_option
def post(connection_id: str, text: str, port: int) -> None:
    """Send a text to a connection, as a backend does through @connections."""
    _run(_control(port, "POST", f"connections/{quote(connection_id, safe='')}/post", text))


@click.command()
@click.argument("connection_id")
@port_option
def kill(connection_id: str, port: int) -> None:
    """Drop a connection without a close frame, as a broken network does."""
    _run(_control(port, "POST", f"connections/{quote(connection_id, safe='')}/kill"))


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(coroutine)
    except aiohttp.ClientSSLError as error:
        raise click.ClickException(f"no TLS with {error.host}:{error.port}: {error}") from error
    except aiohttp.ClientConnectorError as error:
        raise click.ClickException(
            f"nothing listens on {error.host}:{error.port}: start it with samsocket up"
        ) from error
    except KeyboardInterrupt:
        return None


async def _control(port: int, method: str, path: str, body: str | None = None) -> Any:
    url = URL(f"http://127.0.0.1:{port}/_gateway/{path}", encoded=True)
    async with aiohttp.ClientSession() as http, http.request(method, url, data=body) as answer:
        text = await answer.text()
        if answer.status >= 300:
            raise click.ClickException(json.loads(text).get("message", text))
        return json.loads(text) if text else None


async def _url(given: str | None, port: int) -> str:
    if given is not None and "://" in given:
        return given.replace("ws://", "http://", 1).replace("wss://", "https://", 1)
    if given is None:
        api = (await _control(port, "GET", "health"))["apis"][0]
        given = f"{api['name'] or api['api_id']}/{api['stages'][0]}"  # another API may have the same stage
    return f"http://localhost:{port}/{given}"


def _trusting() -> ssl.SSLContext:
    """Return a context that trusts this machine's gateway, too, whose authority is not installed into the system."""
    context = ssl.create_default_context()
    if (own := authority() / CERTIFICATE).is_file():
        context.load_verify_locations(own)
    return context


@contextlib.asynccontextmanager
async def _opened(url: str | None, port: int, headers: tuple[str, ...], subprotocols: tuple[str, ...]) -> Any:
    given = [header.partition(":")[::2] for header in headers]
    told: list[str] = []

    async def answered(_: Any, __: Any, heard: aiohttp.TraceRequestEndParams) -> None:
        if heard.response.status != _SWITCHING:
            told.append(await heard.response.text())  # nobody else reads it

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(answered)
    async with aiohttp.ClientSession(trace_configs=[tracing]) as http:
        where = await _url(url, port)
        try:
            socket = await http.ws_connect(
                where,
                headers=[(name.strip(), value.strip()) for name, value in given],
                protocols=subprotocols,
                ssl=_trusting() if where.startswith("https:") else True,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise click.ClickException(f"the handshake was refused with {error.status}: {''.join(told)}") from error
        async with socket:
            yield socket


async def _connect(url: str | None, port: int, headers: tuple[str, ...], subprotocols: tuple[str, ...]) -> None:
    async with _opened(url, port, headers, subprotocols) as socket:
        click.echo("connected; Ctrl-D closes")
        with _terminal_restored():
            typing = asyncio.create_task(_type(socket.send_str, socket.close))
            async for message in socket:
                click.echo(f"\r< {message.data}")
            typing.cancel()
        click.echo(f"\rclosed with {socket.close_code}")


@contextlib.contextmanager
def _terminal_restored() -> Iterator[None]:
    """Leave the terminal as it was: whoever waits for a line is not told of the end."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


async def _type(send_line: Callable[[str], Any], close: Callable[[], Any]) -> None:
    """Send each line that is typed, and close after the last.

    They are read in a thread that nothing can wake: it may not keep the process from ending.
    """
    typed: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(line: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the connection has ended
            loop.call_soon_threadsafe(typed.put_nowait, line)

    threading.Thread(target=_read, args=(put,), daemon=True).start()
    while (line := await typed.get()) is not None:
        if line:
            await send_line(line)
    await close()


def _read(put: Callable[[str | None], None]) -> None:
    """Hand on each line of the standard input, and None after the last.

    At a terminal with the history and the keys of readline, where Python has it. Elsewhere `input` would hold a lock
    without which the process cannot end.
    """
    if sys.stdin.isatty() and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            __import__("readline")
        with contextlib.suppress(EOFError):
            while True:
                put(input(_PROMPT))
    else:
        rest = b""
        while part := os.read(sys.stdin.fileno(), 65_536):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                put(line.decode(errors="replace"))
        put(rest.decode(errors="replace"))
    put(None)


async def _send(
    message: str,
    url: str | None,
    port: int,
    headers: tuple[str, ...],
    subprotocols: tuple[str, ...],
    wait: float,
    count: int | None,
) -> None:
    async with _opened(url, port, headers, subprotocols) as socket:
        await socket.send_str(message)
        with contextlib.suppress(TimeoutError):
            for _ in itertools.count() if count is None else range(count):
                heard = await socket.receive(timeout=wait)
                if heard.type is not aiohttp.WSMsgType.TEXT:
                    raise click.ClickException(f"closed with {socket.close_code}")
                click.echo(heard.data)
