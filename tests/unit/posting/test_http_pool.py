"""The pool over a libcurl that the test plays: its settings, the answers that it gives, and its waits."""

from __future__ import annotations

import time
from typing import Any

import pycurl
import pytest

from realtime.posting import http_pool
from realtime.posting.http_pool import HttpPool
from tests.unit.fakes import Sleeps


class FakeCurl:
    """A handle that keeps its settings, and the status of its answer."""

    def __init__(self, made: list[FakeCurl]) -> None:
        made.append(self)
        self.settings: dict[int, Any] = {}
        self.status = 0

    def setopt(self, option: int, value: Any) -> None:
        self.settings[option] = value

    def unsetopt(self, option: int) -> None:
        self.settings.pop(option, None)

    def getinfo(self, _: int) -> int:
        return self.status

    def answer(self, status: int, *parts: bytes) -> None:
        self.status = status
        for part in parts:
            self.settings[pycurl.WRITEFUNCTION](part)


class FakeMulti:
    """The handles whose requests are to end, well or with an error, and what `select` returns."""

    def __init__(self) -> None:
        self.ended: list[FakeCurl] = []
        self.failed: list[tuple[FakeCurl, int, str]] = []
        self.selected = 0

    def add_handle(self, curl: FakeCurl) -> None:
        """Do nothing: the test says what ends."""

    def remove_handle(self, curl: FakeCurl) -> None:
        """Do nothing."""

    def perform(self) -> None:
        """Do nothing."""

    def info_read(self) -> tuple[int, list[FakeCurl], list[tuple[FakeCurl, int, str]]]:
        ended, failed = self.ended[:1], [] if self.ended else self.failed
        self.ended = self.ended[1:]
        return len(self.ended) + (len(self.failed) if ended else 0), ended, failed

    def select(self, _seconds: float) -> int:
        return self.selected


class Played:
    """A pool, and the libcurl under it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[FakeCurl] = []
        self.multi = FakeMulti()
        monkeypatch.setattr(pycurl, "Curl", lambda: FakeCurl(self.made))
        monkeypatch.setattr(pycurl, "CurlMulti", lambda: self.multi)
        for variable in http_pool._PROXY_VARIABLES:
            monkeypatch.delenv(variable, raising=False)
        self.pool: HttpPool[str] = HttpPool(
            "http://h.example", connect_timeout_s=1.5, timeout_s=2.5, ca_bundle="bundle.pem"
        )

    def send(self, task: str = "a", body: bytes = b"x") -> FakeCurl:
        self.pool.send(task, "POST", "/path", [], body)
        curl: FakeCurl = next(reversed(self.pool._busy))  # type: ignore[assignment]
        return curl


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def test_a_handle_has_the_times_and_the_certificates_of_the_pool(played: Played) -> None:
    settings = played.send().settings
    assert (settings[pycurl.CONNECTTIMEOUT_MS], settings[pycurl.TIMEOUT_MS]) == (1500, 2500)
    assert settings[pycurl.CAINFO] == "bundle.pem"
    assert settings[pycurl.PROXY] == "", "libcurl does not look for a proxy"


def test_handles_are_used_again(played: Played) -> None:
    for _ in range(3):
        curl = played.send()
        curl.answer(200)
        played.multi.ended = [curl]
        assert played.pool.receive() == [("a", 200, "")]
    assert len(played.made) == 1


@pytest.mark.parametrize(
    ("status", "parts", "text"),
    [
        (200, [b"accepted"], ""),
        (299, [b"accepted"], ""),
        (300, [b"elsewhere"], "elsewhere"),
        (500, [b"x" * 4096, b"y"], "x" * 4096),
        (500, [b"\xff"], "\ufffd"),
    ],
)
def test_only_an_answer_that_is_no_2xx_has_a_text(played: Played, status: int, parts: list[bytes], text: str) -> None:
    curl = played.send()
    curl.answer(status, *parts)
    played.multi.ended = [curl]
    assert played.pool.receive() == [("a", status, text)]


@pytest.mark.parametrize(("status", "counts"), [(0, 0), (100, 0), (199, 0), (200, 200), (410, 410)])
def test_only_a_final_status_of_a_broken_answer_counts(played: Played, status: int, counts: int) -> None:
    curl = played.send()
    curl.answer(status)
    played.multi.failed = [(curl, 28, "timed out")]
    assert played.pool.receive() == [("a", counts, "timed out (28)")]


def test_all_answers_of_a_moment_are_received_together(played: Played) -> None:
    curls = [played.send(task) for task in ("a", "b", "c")]
    for curl in curls:
        curl.answer(200)
    played.multi.ended, played.multi.failed = curls[:2], [(curls[2], 56, "reset")]
    assert played.pool.receive() == [("a", 200, ""), ("b", 200, ""), ("c", 200, "reset (56)")]


@pytest.mark.parametrize(
    ("selected", "seconds", "slept"),
    [(-1, 0.5, [0.01]), (-1, 0.001, [0.001]), (0, 0.5, []), (1, 0.5, [])],
)
def test_a_wait_without_a_socket_is_short(
    played: Played, monkeypatch: pytest.MonkeyPatch, selected: int, seconds: float, slept: list[float]
) -> None:
    sleeps = Sleeps()
    monkeypatch.setattr(time, "sleep", sleeps)
    played.send()
    played.multi.selected = selected
    played.pool.wait(seconds)
    assert sleeps.seconds == slept


def test_a_wait_without_a_request_takes_all_its_time(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = Sleeps()
    monkeypatch.setattr(time, "sleep", sleeps)
    played.pool.wait(0.5)
    assert sleeps.seconds == [0.5]
