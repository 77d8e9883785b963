"""Reads the logs of a stack's functions."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

POLL_SECONDS = 0.5


@dataclass(frozen=True, order=True)
class Line:
    """One line of a function's log; `milliseconds` is the time since 1970."""

    milliseconds: int
    function: str
    stream: str
    text: str


def log_groups(outputs: Mapping[str, str]) -> dict[str, str]:
    """Return the log groups of a stack's functions, by the functions' short names, such as `broadcast-wide`."""
    suffix = "LogName"
    return {_short(key.removesuffix(suffix)): name for key, name in outputs.items() if key.endswith(suffix)}


def _short(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


class LogReader:
    """Reads the logs of some functions, each line once."""

    def __init__(self, client: CloudWatchLogsClient, groups: Mapping[str, str], since_ms: int = 0) -> None:
        """Take the log groups as `log_groups` gives them, and the time since 1970 before which lines are left out."""
        self._client = client
        self._groups = groups
        self._since_ms = since_ms
        # The next call reads the newest millisecond again, because more of its lines may come: count those seen so far.
        self._newest: dict[str, Counter[Line]] = {short: Counter() for short in groups}

    def read(self) -> list[Line]:
        """The lines since the last call, in the order of time."""
        return sorted(
            (line for short in self._groups for line in self._new_lines(short)), key=lambda line: line.milliseconds
        )

    def follow(self) -> Iterator[list[Line]]:
        """The lines that come, without end."""
        while True:
            yield self.read()
            time.sleep(POLL_SECONDS)

    def _new_lines(self, short: str) -> Iterator[Line]:
        given = self._newest[short]
        since = max((line.milliseconds for line in given), default=self._since_ms)
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=self._groups[short], startTime=since
        )
        try:
            events = [event for page in pages for event in page["events"]]
        except ClientError as error:
            if error.response["Error"].get("Code") == "ResourceNotFoundException":
                return  # it has not run yet
            raise
        lines = [
            Line(event["timestamp"], short, event["logStreamName"], event["message"].rstrip("\n")) for event in events
        ]
        if lines:
            newest = max(line.milliseconds for line in lines)
            self._newest[short] = Counter(line for line in lines if line.milliseconds == newest)
        skip = given.copy()
        for line in lines:
            if skip[line]:
                skip[line] -= 1
            else:
                yield line
