"""The CPU of a warm ping, connect and disconnect, compared with that of the bare boto3 calls that they make.

The real handlers and boto3 call the same table (bench/tables.py, on the last core), alternating in one process on core
0, so that a ratio does not depend on how busy the machine was. The bare calls are those that the handlers made in as
many invocations, with the same parameters.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import cycle
from pathlib import Path
from typing import Any

from bench import nginx, tables
from harness.cold_start import ENVIRONMENT
from tools import results

ROUNDS = 20
AT_A_TIME = 25  # invocations; long enough for the clock, short enough that both meet the same machine
TARGETS = {"ping": "1.30", "connect": "1.50", "disconnect": "–"}
TOKEN_SECONDS = 3600
ROOT = Path(__file__).parents[1]
SECRET = "a secret of the benchmarks, which signs nothing else"
Call = tuple[str, dict[str, Any]]


def _events() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return for each route the function's name and its event."""
    import jwt

    context = {
        "connectionId": tables.connection_id(1),
        "stage": "feed",
        "connectedAt": tables.CONNECTED_AT,
        "identity": {"sourceIp": "192.0.2.1"},
        "requestTimeEpoch": tables.CONNECTED_AT,
        "messageId": "RfGy4c8koAMCIhA=",
    }
    expires_at_s = int(time.time()) + TOKEN_SECONDS
    token = jwt.encode({"sub": "123", "exp": expires_at_s, "username": "jane_smith"}, SECRET, "HS256")
    handshake = {"requestContext": context, "headers": {}, "queryStringParameters": {"token": token}}
    ping = {"requestContext": context, "body": '{"type":"ping","data":{}}'}
    ended = {"requestContext": {**context, "disconnectStatusCode": 1001}}
    return {"ping": ("default", ping), "connect": ("connect", handshake), "disconnect": ("disconnect", ended)}


def run(report: Path) -> None:
    """Measure in this process, which has the environment of a function, and record µs by route."""
    import importlib

    import boto3

    from realtime.aws import clients

    class Keys:
        """The secrets, without the service that stores them, because functions read them once in five minutes."""

        def get_parameter(self, **_: object) -> dict[str, Any]:
            return {"Parameter": {"Value": SECRET}}

    made = clients.client
    clients.client = lambda service: Keys() if service == "ssm" else made(service)  # type: ignore[assignment]
    bare = boto3.client("dynamodb")
    figures: dict[str, float] = {}
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        for route, (function, event) in _events().items():
            handler = importlib.import_module(function).handler
            assert handler(event, None)["statusCode"] == 200

            def ours(handler: Callable[..., Any] = handler, event: dict[str, Any] = event) -> None:
                for _ in range(AT_A_TIME):
                    handler(event, None)

            recorded = list(_recorded(made("dynamodb"), ours))
            turns = cycle(recorded)

            def theirs(turns: Iterator[list[Call]] = turns) -> None:
                for name, parameters in next(turns):
                    getattr(bare, name)(**parameters)

            figures |= {f"{route}_{name}": value for name, value in _by_turns(ours, theirs).items()}
            figures[f"{route}_calls"] = sum(map(len, recorded)) / len(recorded) / AT_A_TIME
    report.write_text(json.dumps(figures))


def _recorded(client: Any, work: Callable[[], None]) -> Iterator[list[Call]]:
    """Yield the calls that a client makes in each of many turns: not every frame is counted, nor each lease written."""
    from botocore import xform_name

    calls: list[Call] = []

    def record(params: dict[str, Any], model: Any, **_: object) -> None:
        calls.append((xform_name(model.name), params))

    client.meta.events.register("provide-client-params.dynamodb", record)
    for _ in range(ROUNDS):
        work()
        yield list(calls)
        calls.clear()
    client.meta.events.unregister("provide-client-params.dynamodb", record)


def _by_turns(ours: Callable[[], None], theirs: Callable[[], None]) -> dict[str, float]:
    """Return µs of CPU of each, and the median of their ratios, turn by turn."""
    pairs = []
    for number in range(ROUNDS + 2):
        pair = (_cpu(ours), _cpu(theirs)) if number % 2 else (_cpu(theirs), _cpu(ours))[::-1]
        if number >= 2:  # the first are for connections and caches
            pairs.append(pair)
    own, bare = zip(*pairs, strict=True)
    ratio = statistics.median(each / other for each, other in pairs)
    return {"us": statistics.median(own), "bare_us": statistics.median(bare), "ratio": ratio}


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) / AT_A_TIME * 1e6


def main() -> None:
    """Measure, print and store the figures."""
    nginx.require("taskset")
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, tables.running(core=cores - 1) as url:
        report = Path(folder) / "report.json"
        environment = {"PATH": os.environ["PATH"], **ENVIRONMENT, "AWS_ENDPOINT_URL_DYNAMODB": url}
        command = ["taskset", "-c", "0", sys.executable, "-m", "bench.warm", str(report)]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            sys.exit(f"warm failed:\n{ended.stderr[-3000:]}")
        figures: dict[str, float] = json.loads(report.read_text())
    print(f"{'warm':<26}{'CPU µs':>10}{'bare calls':>12}{'ratio':>8}{'target':>8}")
    for route, target in TARGETS.items():
        own, bare, ratio = (figures[f"{route}_{name}"] for name in ("us", "bare_us", "ratio"))
        print(f"{route:<26}{own:>10.0f}{bare:>12.0f}{ratio:>8.2f}{target:>8}")
        figures[route] = figures.pop(f"{route}_ratio")
    results.save("warm", figures)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(Path(sys.argv[1]))
    else:
        main()
