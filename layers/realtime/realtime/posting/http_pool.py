"""Many HTTP requests at once over kept-alive connections, with libcurl's multi interface; handles are reused too.

HTTP/1.1 on purpose: a stalled connection then stalls one request (docs/decisions/0011).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import pycurl

Task = TypeVar("Task")

_TEXT_BYTES = 4096  # how much of an answer's body is kept: why a request failed, or what a GET asked for
_IDLE_S = 60  # after this idle time a connection is not reused: the network may have dropped it silently
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY")  # the ones that libcurl reads


class _Slot(Generic[Task]):
    """A curl handle for one request at a time, with its settings and the text of its answer."""

    __slots__ = ("body", "curl", "method", "task", "text")

    task: Task

    def __init__(self, curl: pycurl.Curl) -> None:
        self.curl = curl
        self.method = "POST"
        self.body: bytes | None = None
        self.text = bytearray()
        curl.setopt(pycurl.WRITEFUNCTION, self._keep)

    def _keep(self, data: bytes) -> None:
        if len(self.text) < _TEXT_BYTES:
            self.text += data[:_TEXT_BYTES]


class HttpPool(Generic[Task]):
    """Makes requests to one origin. Each belongs to a task of the caller, which is returned with the answer.

    `timeout_s` limits a whole request, including the time to connect. Only one thread at a time may use the pool.
    """

    def __init__(self, origin: str, *, connect_timeout_s: float, timeout_s: float, ca_bundle: str | None) -> None:
        self._origin = origin
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._ca_bundle = ca_bundle
        self._proxied = any(os.environ.get(variable) for variable in _PROXY_VARIABLES)
        self._multi = pycurl.CurlMulti()
        self._idle: list[_Slot[Task]] = []
        self._busy: dict[pycurl.Curl, _Slot[Task]] = {}

    @property
    def in_flight(self) -> int:
        """Return how many requests are under way."""
        return len(self._busy)

    def send(self, task: Task, method: str, path: str, headers: list[str], body: bytes) -> None:
        """Start a request; the next `receive` sends it, with its path unchanged."""
        slot = self._idle.pop() if self._idle else self._new_slot()
        curl = slot.curl
        if slot.text:
            slot.text.clear()
        if method != slot.method:
            self._change_method(slot, method)
        if body is not slot.body:
            curl.setopt(pycurl.POSTFIELDS, body)
            slot.body = body
        curl.setopt(pycurl.REQUEST_TARGET, path)
        headers.append("Content-Type:")  # no such header is sent; otherwise libcurl would declare the body a form
        curl.setopt(pycurl.HTTPHEADER, headers)
        self._multi.add_handle(curl)
        slot.task = task
        self._busy[curl] = slot

    def receive(self) -> list[tuple[Task, int, str]]:
        """Send and receive without waiting; return the tasks whose requests ended, each with a status and a text.

        Status 0 means that there was no answer, and the text says why. A status counts even if the body after it is
        incomplete. The text of a 2xx is empty, except for a GET.
        """
        self._multi.perform()
        answers = []
        more = 1
        while more:
            more, answered, failed = self._multi.info_read()
            for curl in answered:
                status = curl.getinfo(pycurl.RESPONSE_CODE)
                slot = self._release(curl)
                text = "" if 200 <= status < 300 and slot.method != "GET" else slot.text.decode(errors="replace")
                answers.append((slot.task, status, text))
            for curl, number, message in failed:
                status = curl.getinfo(pycurl.RESPONSE_CODE)
                answers.append((self._release(curl).task, status if status >= 200 else 0, f"{message} ({number})"))
        return answers

    def wait(self, seconds: float) -> None:
        """Wait until something can be sent or received, for at most `seconds`."""
        if not self._busy:
            time.sleep(seconds)
        elif self._multi.select(seconds) < 0:  # libcurl does not have a socket to wait for yet
            time.sleep(min(seconds, 0.01))

    def abandon(self, which: Callable[[Task], bool] | None = None) -> list[Task]:
        """Abort the requests of some tasks, or all; return these tasks. libcurl closes their connections."""
        aborted = [curl for curl, slot in self._busy.items() if which is None or which(slot.task)]
        return [self._release(curl).task for curl in aborted]

    def close(self) -> None:
        """Abort all requests and close all connections."""
        self.abandon()
        for slot in self._idle:
            slot.curl.close()
        self._multi.close()

    def _new_slot(self) -> _Slot[Task]:
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, self._origin)  # the path is set separately: libcurl would parse a whole URL each time
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(self._connect_timeout_s * 1000))
        curl.setopt(pycurl.TIMEOUT_MS, int(self._timeout_s * 1000))
        curl.setopt(pycurl.MAXAGE_CONN, _IDLE_S)
        curl.setopt(pycurl.NOSIGNAL, 1)
        if self._ca_bundle:
            curl.setopt(pycurl.CAINFO, self._ca_bundle)
        if self._proxied:
            curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)  # otherwise the proxy would get the URL, which has no path
        else:
            curl.setopt(pycurl.PROXY, "")  # otherwise libcurl would read the environment for each request
        return _Slot(curl)

    @staticmethod
    def _change_method(slot: _Slot[Task], method: str) -> None:
        if method == "POST":
            slot.curl.unsetopt(pycurl.CUSTOMREQUEST)
        else:
            slot.curl.setopt(pycurl.CUSTOMREQUEST, method)
        slot.method = method

    def _release(self, curl: pycurl.Curl) -> _Slot[Task]:
        self._multi.remove_handle(curl)
        slot = self._busy.pop(curl)
        self._idle.append(slot)
        return slot
