"""What the functions of a stack logged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

POLL_SECONDS = 0.5


def functions(outputs: Mapping[str, str]) -> dict[str, str]:
    """The functions of a stack: the physical name of each by its short one, such as `connect`."""
    suffix = "FunctionName"
    return {key.removesuffix(suffix).lower(): name for key, name in outputs.items() if key.endswith(suffix)}


class LogReader:
    """Reads the logs of some functions, in the order of time, each line once."""

    def __init__(self, client: CloudWatchLogsClient, names: Mapping[str, str]) -> None:
        """Take the functions as `functions` gives them."""
        self._client = client
        self._groups = {short: f"/aws/lambda/{name}" for short, name in names.items()}
        self._since = dict.fromkeys(names, 0)
        self._seen: dict[str, set[str]] = {short: set() for short in names}

    def read(self) -> list[tuple[int, str, str]]:
        """What came since the last call: time (ms), function, line."""
        lines = [line for short, group in self._groups.items() for line in self._of(short, group)]
        return sorted(lines, key=lambda line: line[0])

    def follow(self) -> Iterator[list[tuple[int, str, str]]]:
        """What comes, for ever."""
        while True:
            yield self.read()
            time.sleep(POLL_SECONDS)

    def _of(self, short: str, group: str) -> Iterator[tuple[int, str, str]]:
        since, seen = self._since[short], self._seen[short]
        pages = self._client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
        try:
            events = [event for page in pages for event in page["events"]]
        except ClientError as error:
            if error.response["Error"].get("Code") == "ResourceNotFoundException":
                return
            raise
        for event in events:
            if event["eventId"] not in seen:
                yield event["timestamp"], short, event["message"].rstrip("\n")
        if events:
            # Events of the newest millisecond are asked for again, as more of them may come.
            self._since[short] = newest = max(event["timestamp"] for event in events)
            self._seen[short] = {event["eventId"] for event in events if event["timestamp"] == newest}
