"""One event through the real `broadcast` handler, to 1,000, 10,000 and 100,000 connections of which 1 % are gone.

The table (bench/tables.py) and the management API (nginx) run in processes of their own on the last core. The benchmark
measures the CPU of the function's process, on core 0: reading the pages, posting, forgetting gone connections, logging.
A figure is connections per second of the core's time. Each size has its own process, so that its memory is its own.
Before each, the engine alone posts for a while: the ratio of the handler's figure to the engine's does not depend on
how busy the machine was.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import engine, nginx, tables
from tools import results

SIZES = {1_000: 30, 10_000: 5, 100_000: 2}  # connections, and how often the event is handled: more evens out more
WARM_UP = 1_000  # connections
SHARDS = 4
ROOT = Path(__file__).parents[1]


class Context:
    """What Lambda tells a function of its invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Return more than enough time: the benchmark measures the work, not how much of it fits in a minute."""
        return 600_000


def event(connections: int) -> dict[str, Any]:
    """Return the records that one event for everyone on feed makes, one a shard."""
    message = json.dumps({"type": "listener_online", "data": {"user_id": 123, "username": "jane_smith"}}).ljust(200)
    records = []
    for shard in range(SHARDS):
        image = {
            # The table names audiences by their size; the number of leading zeros distinguishes the shards.
            "audience": {"S": f"feed/*/{'0' * shard}{connections // SHARDS}"},
            "event_id": {"S": "018d0c9a5b7c0123456789abcdef"},
            "kind": {"S": "listener_online"},
            "message": {"S": message},
            "expires_at": {"N": str(tables.FAR_FUTURE)},
        }
        records.append({"eventName": "INSERT", "dynamodb": {"NewImage": image, "SequenceNumber": str(shard)}})
    return {"Records": records}


def run(connections: int, times: int, report: Path) -> None:
    """Handle the event a number of times in this process, and record the cost."""
    import broadcast  # the function, with the environment that `measure` gives it

    assert broadcast.handler(event(WARM_UP), Context()) == {"batchItemFailures": []}
    resident = []
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        assert broadcast.handler(event(connections), Context()) == {"batchItemFailures": []}
        resident.append(_resident_megabytes())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    handled = connections * times
    figures = {
        "rate": handled / cpu,
        "cpu_us": cpu / handled * 1e6,
        "wall": handled / wall,
        "megabytes": peak,
        "growth_megabytes": resident[-1] - resident[0],
    }
    report.write_text(json.dumps(figures))


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(connections: int, times: int, api: nginx.Server, table_url: str) -> dict[str, float]:
    """Handle the event in a process of its own."""
    before = tables.counts(table_url)
    report = api.certificate.with_name("report.json")
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLEEXAMPLE12",
        "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "AWS_SESSION_TOKEN": "t" * 900,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_DYNAMODB": table_url,
        "AWS_ENDPOINT_URL_SQS": table_url,  # on a busy machine, answers may be late
        "AWS_CA_BUNDLE": str(api.certificate),
        "CONNECTIONS_TABLE": "connections",
        "USERS_TABLE": "users",
        "BLOCKS_TABLE": "blocks",
        "EVENTS_TABLE": "events",
        "MANAGEMENT_ENDPOINT": api.url,
        "POSTS_PER_SECOND": "1000000",
        "REACH": "wide",
        "PRESENCE_LATENESS_SECONDS": "10",
        "LATE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/late",
        "FAILURES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/failures",
    }
    command = ["taskset", "-c", "0", sys.executable, "-m", "bench.handler", str(connections), str(times), str(report)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"the handler failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(report.read_text())
    made = tables.counts(table_url) - before
    gone = _gone(WARM_UP) + times * _gone(connections)
    if made["deleted"] != 2 * gone:  # a session, and the audience that it heard
        sys.exit(f"{gone} connections were gone, and {made['deleted']} of their items were deleted")
    return {**figures, "forgotten": gone}


def _gone(connections: int) -> int:
    return SHARDS * len(range(0, connections // SHARDS, 100))


def main() -> None:
    """Measure, print and store the figures."""
    cores = os.cpu_count() or 1
    if cores < 2:
        sys.exit("the servers need a core of their own")
    nginx.require("nginx", "taskset")
    figures: dict[str, float] = {}
    titles = f"{'per s of CPU':>14}{'CPU µs each':>14}{'by the clock':>14}{'MB':>8}{'growth MB':>11}{'to engine':>11}"
    print(f"{'one event to':<26}{titles}")
    last = cores - 1
    with nginx.running(last, hundredth=410) as api, nginx.running(last) as all_there, tables.running(last) as table_url:
        for size, times in SIZES.items():
            alone = 1e6 / engine.measure("ours", all_there)["cpu_us"]
            measured = measure(size, times, api, table_url)
            measured["to_engine"] = measured["rate"] / alone
            print(
                f"{f'{size:,} connections':<26}{measured['rate']:>14,.0f}{measured['cpu_us']:>14.1f}"
                f"{measured['wall']:>14,.0f}{measured['megabytes']:>8.0f}{measured['growth_megabytes']:>11.1f}"
                f"{measured['to_engine']:>11.2f}"
            )
            figures[str(size)] = measured.pop("rate")
            figures |= {f"{size}_{name}": value for name, value in measured.items()}
    results.save("handler", figures)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
