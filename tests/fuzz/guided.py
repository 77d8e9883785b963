"""`python -m tests.fuzz.guided`: atheris (libFuzzer) looks for inputs that reach new code of each parser, one by one.

Each target has a process of its own, because libFuzzer never returns. What it learns stays in .fuzz, by target: inputs
that reach something new, and those that found something (crash-…).
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[2] / ".fuzz"
SEEDS = 200


def explore(name: str, seconds: int) -> int:
    """Run one target in this process; never returns if libFuzzer ends it."""
    import atheris  # noqa: PLC0415  # only in the environment of `make fuzz`

    with atheris.instrument_imports(include=["realtime", "jwt"]):  # nothing may have loaded them before
        from tests.fuzz.inputs import make  # noqa: PLC0415  # after the instruments
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(name)
    for number in range(SEEDS):
        (folder / f"seed-{number}").write_bytes(make(name, chance))
    options = [f"-max_total_time={seconds}", "-timeout=10", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(folder)], TARGETS[name])
    atheris.Fuzz()
    return 0


def main() -> int:
    """Explore each target for some seconds; return 1 if one of them found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only")
    parser.add_argument("--here", action="store_true")
    given = parser.parse_args()
    if given.here:
        return explore(given.only, given.seconds)
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415  # a process that explores loads it with instruments

    failed = []
    for name in [given.only] if given.only else TARGETS:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--here", "--only", name, "--seconds", str(given.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stderr.splitlines()
        units = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "?")
        kept = len([each for each in (CORPUS / name).glob("*") if not each.name.startswith("seed-")])
        found = "FOUND" if done.returncode else "nothing found"
        sys.stdout.write(f"{name:12} {units:>9} inputs, {kept} of them kept for new code that they reach: {found}\n")
        if done.returncode:
            failed.append(name)
            sys.stdout.write("".join(f"    {line}\n" for line in (done.stdout.splitlines() + lines)[-25:]))
        sys.stdout.flush()
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
