"""What a cold start of each function costs: the CPU of its imports and of all that its first invocation needs.

The interpreter runs already. The process imports the function's module and creates what `bootstrap` wires for it, with
the AWS clients that the first invocation calls and the logger. For comparison, in the same run and alternating, a
process only runs `import boto3; boto3.client("dynamodb")`. Bytecode is cached for both. The benchmark also measures the
unpacked size of the artifact with its layer, of which Lambda allows 250 MB.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.cold_start import ENVIRONMENT, FIRST, code_of
from tools import results

ROUNDS = 12
ROOT = Path(__file__).parents[1]
BARE = 'import boto3; boto3.client("dynamodb")'
_MEASURE = "import time; began = time.process_time(); {code}; print((time.process_time() - began) * 1000)"


def measure(code: str) -> float:
    """Run a cold start in a process of its own; returns ms of CPU."""
    command = ["taskset", "-c", "0", sys.executable, "-c", _MEASURE.format(code=code)]
    environment = {"PATH": os.environ["PATH"], **ENVIRONMENT}
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{code}:\n{ended.stderr[-2000:]}")
    return float(ended.stdout)


def artifact_megabytes() -> float:
    """Build layer and functions as they are deployed, for Lambda's own Python and processor, and weigh them."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ARTIFACTS_DIR": folder, "UV": str(ROOT / ".tools" / "uv" / "bin" / "uv")}
        for name in ("MAKEFLAGS", "MAKELEVEL", "LAYER_PYTHON"):
            environment.pop(name, None)
        subprocess.run(
            ["make", "-s", "-C", "layers/realtime", "build-RealtimeLayer"], env=environment, cwd=ROOT, check=True
        )
        shutil.copytree(ROOT / "functions", Path(folder) / "functions", ignore=shutil.ignore_patterns("__pycache__"))
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Measure, print and store the figures."""
    codes = {"boto3": BARE, **{function: code_of(function) for function in FIRST}}
    measured: dict[str, list[float]] = {name: [] for name in codes}
    for number in range(ROUNDS + 1):
        for name, code in codes.items():
            results.progress(f"round {number} of {ROUNDS}: {name}")
            milliseconds = measure(code)
            if number:  # the first writes bytecode and warms the disk's cache
                measured[name].append(milliseconds)
    results.progress()
    # The minimum: other work of the machine can only add to it.
    least = {name: min(each) for name, each in measured.items()}
    ratios = {name: least[name] / least["boto3"] for name in FIRST}
    print(f"{'cold start':<26}{'CPU ms':>10}{'median':>10}{'beside boto3':>14}")
    for name in codes:
        median, ratio = statistics.median(measured[name]), least[name] / least["boto3"]
        print(f"{name:<26}{least[name]:>10.0f}{median:>10.0f}{ratio:>14.2f}")
    megabytes = artifact_megabytes()
    print(f"artifact with its layer: {megabytes:.1f} MB unpacked")
    results.save("cold_start", {**ratios, **{f"{name}_ms": each for name, each in least.items()}})
    results.save("artifact", {"megabytes": megabytes})


if __name__ == "__main__":
    main()
