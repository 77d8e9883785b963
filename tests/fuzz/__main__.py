"""`python -m tests.fuzz --inputs 1000000`: that many inputs by chance, over all targets; the same for the same seed."""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter

from tests.fuzz.inputs import make
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Print what became of the inputs, by target, and each kind of finding once; return 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TARGETS, action="append")
    given = parser.parse_args()
    chosen = given.only or [*TARGETS]
    findings: Counter[str] = Counter()
    began, done = time.monotonic(), 0
    for number, name in enumerate(chosen):
        count = given.inputs // len(chosen) + (number < given.inputs % len(chosen))
        chance = random.Random(f"{given.seed} {name}")
        outcomes: Counter[str] = Counter()
        for _ in range(count):
            data = make(name, chance)
            try:
                outcomes[TARGETS[name](data)] += 1
            except Exception as problem:  # noqa: BLE001  # whatever it is, it is what we look for
                outcomes["FOUND"] += 1
                place = traceback.extract_tb(problem.__traceback__)[-1]
                kind = (
                    f"{name}: {type(problem).__name__} at {place.filename.rpartition('/')[2]}:{place.lineno}: {problem}"
                )
                findings[kind[:160]] += 1
                if findings[kind[:160]] == 1:
                    sys.stdout.write(f"! {kind[:300]}\n    {data[:400]!r}\n")
        done += count
        counted = ", ".join(f"{each} {outcome}" for outcome, each in sorted(outcomes.items()))
        sys.stdout.write(f"{name:12} {count:>8} inputs: {counted}\n")
        sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(f"{done} inputs in {seconds:.0f} s, seed {given.seed}: {sum(findings.values())} findings\n")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
