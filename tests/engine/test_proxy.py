"""The pool requests a tunnel from the environment's proxy, and posts go through it unchanged."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from harness.fake_api import FakeApi
from realtime.posting.delivery import Frame, Outcome
from tests.support.posters import MakePoster, delivery, outcomes

FRAMES = [Frame(f"frame {number}".encode()) for number in range(3)]


class Tunnel(socketserver.StreamRequestHandler):
    """Answers CONNECT, then passes on the data of both sides until one of them leaves."""

    server: Proxy

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        if not line:
            return  # a connection without a request
        while self.rfile.readline().strip():
            pass  # headers
        self.server.requests.append(line.rpartition(" ")[0])
        host, _, port = line.split()[1].partition(":")
        with socket.create_connection((host, int(port))) as other:
            self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            sides = {self.connection: other, other: self.connection}
            with contextlib.suppress(ConnectionError):
                while True:
                    for side in select.select(list(sides), [], [])[0]:
                        data = side.recv(65536)
                        if not data:
                            return
                        sides[side].sendall(data)


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy on loopback that knows CONNECT alone."""

    request_queue_size = 128
    daemon_threads = False  # so that closing it waits for the tunnels, which end with the pool

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


def test_posts_use_the_proxy_that_the_environment_names(
    proxy: Proxy, fake: FakeApi, new_poster: MakePoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url)
    ids = [f"c{number}=" for number in range(20)]
    reported = outcomes(new_poster(), (delivery(each, FRAMES) for each in ids))
    assert reported == dict.fromkeys(ids, Outcome.DELIVERED)
    assert all(fake.bodies(each) == [frame.body for frame in FRAMES] for each in ids)
    assert set(proxy.requests) == {f"CONNECT {fake.url.removeprefix('http://')}"}


def test_posts_use_no_proxy_without_such_a_variable(
    proxy: Proxy, fake: FakeApi, new_poster: MakePoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert outcomes(new_poster(), [delivery("c=")]) == {"c=": Outcome.DELIVERED}
    assert proxy.requests == []
