"""Posts a second over TLS on one core: our engine, other clients of the management API, and wrk, which signs nothing.

`python -m bench.engine` runs them in turn, several times, each on core 0 against nginx on the last core, and stores the
median of each: other work of the machine affects all of them alike. A rate is per second of the core's time, that is,
the posts a second of a client that has a core for itself, so that it does not depend on how busy the machine was;
`_wall` is by the clock.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import nginx
from bench.engine_clients import AT_ONCE, BODY, CLIENTS, Frozen
from tools import results

SECONDS = 3
ROUNDS = 5
HERE = Path(__file__).parent
AIOBOTOCORE_PYTHON = HERE.parent / ".tools" / "bench" / "bin" / "python"  # pins a botocore of its own

_WRK_SCRIPT = f"""
wrk.method = "POST"
wrk.body = {json.dumps(BODY.decode())}
wrk.headers["Authorization"] = string.rep("a", 250)
wrk.headers["X-Amz-Date"] = "20260101T000000Z"
wrk.headers["X-Amz-Security-Token"] = "{Frozen().token}"
"""


def on_core_0(command: list[str]) -> str:
    """Run a command pinned to the first core, and return what it printed."""
    pinned = ["taskset", "-c", "0", *command]
    return subprocess.run(pinned, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout


def measure(client: str, server: nginx.Server) -> dict[str, float]:
    """Let one client post for a while."""
    if client == "wrk":
        return measure_wrk(server)
    python = AIOBOTOCORE_PYTHON if client == "aiobotocore" else Path(sys.executable)
    script = str(HERE / "engine_clients.py")
    printed = on_core_0([str(python), script, client, server.url, str(server.certificate), str(SECONDS)])
    report: dict[str, float] = json.loads(printed)
    return report


def measure_wrk(server: nginx.Server) -> dict[str, float]:
    """Let wrk post for a while."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_WRK_SCRIPT)
        script.flush()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        url = f"{server.url}/feed/@connections/L0SM9c000000000%3D"
        printed = on_core_0(["wrk", "-t1", f"-c{AT_ONCE}", f"-d{SECONDS}s", "-s", script.name, url])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rate = float(next(line for line in printed.splitlines() if line.startswith("Requests/sec")).split()[1])
    if "Non-2xx" in printed:
        sys.exit(f"wrk was refused:\n{printed}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": rate, "cpu_us": cpu / (rate * SECONDS) * 1e6}


def main() -> None:
    """Measure, print and store the figures."""
    nginx.require("nginx", "wrk", "taskset")
    if not AIOBOTOCORE_PYTHON.exists():
        sys.exit("aiobotocore's environment is missing: make .tools/bench/.ready")
    cores = os.cpu_count() or 1
    if cores < 2:
        sys.exit("the server needs a core of its own")
    names = [*CLIENTS, "wrk"]
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with nginx.running(core=cores - 1) as server:
        for number in range(ROUNDS):
            for name in names:
                results.progress(f"round {number + 1} of {ROUNDS}: {name}")
                measured[name].append(measure(name, server))
    results.progress()
    costs = {name: statistics.median(each["cpu_us"] for each in measured[name]) for name in names}
    rates = {name: 1e6 / cost for name, cost in costs.items()}
    walls = {name: statistics.median(each["wall"] for each in measured[name]) for name in names}
    print(f"{'posts over TLS, one core':<26}{'posts/s':>10}{'CPU µs/post':>14}{'by the clock':>14}{'ours/theirs':>14}")
    for name in names:
        ratio = rates["ours"] / rates[name]
        print(f"{name:<26}{rates[name]:>10,.0f}{costs[name]:>14.1f}{walls[name]:>14,.0f}{ratio:>14.2f}")
    results.save(
        "engine",
        {
            **rates,
            **{f"{name}_cpu_us": cost for name, cost in costs.items()},
            **{f"{name}_wall": wall for name, wall in walls.items()},
            **{f"ours_to_{name}": rates["ours"] / rates[name] for name in ("boto3_threads", "wrk")},
        },
    )


if __name__ == "__main__":
    main()
