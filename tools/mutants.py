"""Changes the core modules in small ways, one at a time, and shows which changes no fast test notices.

`make mutants` runs it. mutmut (github.com/boxed/mutmut) makes the changes, the mutants, and runs for each the tests
that reach it. It needs the package at the top of the tree, so the tree is copied to `.mutants`. The results stay there:
a second run tries only what changed, and what survived without an explanation. pyproject.toml says which modules are
changed and which tests must notice. `tests/mutants.toml` explains the survivors that no test can notice.

    python -m tools.mutants                      # all, then the report
    python -m tools.mutants 'realtime.ids.*'     # some
    python -m tools.mutants --sample 400         # 400 chosen by chance, and what they say of all; --seed: others
    python -m tools.mutants --report             # the report of the last run alone

Ends with status 1 if fewer than 95 % of the mutants were killed, or if a survivor has no explanation.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STAGE = ROOT / ".mutants"
PACKAGE = Path("layers/realtime/realtime")
EXPLANATIONS = ROOT / "tests" / "mutants.toml"
LEAST_KILLED = 0.95
WORKERS = 2

_SURVIVED, _UNTRIED = frozenset({0, 5, 33}), frozenset({None, 2})  # 5, 33: no test reaches it; 2: interrupted
_TIMED_OUT = frozenset({-24, 24, 36, 152, 255})  # its tests took 15 times as long as without it: it may loop forever
_Z = 1.96  # standard deviations around the mean that hold 95 % of a normal distribution


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change that survived: its name, and the lines before and after it."""

    name: str
    before: str
    after: str

    @property
    def module(self) -> str:
        return self.name.partition(".x")[0]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reason why survivors of a kind change nothing that a test could notice."""

    module: re.Pattern[str]
    before: re.Pattern[str]
    after: re.Pattern[str]
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Return whether it is about this mutant: each pattern matches the whole of its line."""
        return bool(
            self.module.fullmatch(mutant.module)
            and self.before.fullmatch(mutant.before)
            and self.after.fullmatch(mutant.after)
        )


def read_explanations(text: str) -> list[Explanation]:
    """Read `[[survivor]]` tables: `module` (a pattern), `before` and `after` (lines, or patterns in slashes), `reason`.

    A missing `after` matches any change of the line.
    """
    return [
        Explanation(re.compile(each["module"]), _line(each["before"]), _line(each.get("after", "/.*/")), each["reason"])
        for each in tomllib.loads(text).get("survivor", ())
    ]


def _line(text: str) -> re.Pattern[str]:
    is_pattern = len(text) > 1 and text.startswith("/") and text.endswith("/")
    return re.compile(text[1:-1] if is_pattern else re.escape(text), re.DOTALL)


def stage() -> None:
    """Copy the tree to `.mutants`, the package at its top; what did not change keeps its results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    if not _is_same(ROOT / "pyproject.toml", STAGE / "pyproject.toml"):  # other modules or tests, perhaps
        shutil.rmtree(STAGE, ignore_errors=True)
    shutil.rmtree(STAGE / "mutants" / "tests", ignore_errors=True)  # mutmut copies them, and removes none
    wanted: set[Path] = set()
    for name in filter(None, listed.stdout.split("\0")):
        source, path = ROOT / name, Path(name)
        if not source.is_file():
            continue
        targets = [path]
        if path.is_relative_to(PACKAGE):
            targets.append(Path("realtime") / path.relative_to(PACKAGE))
        for target in targets:
            wanted.add(target)
            _copy(source, STAGE / target)
    for path in [each.relative_to(STAGE) for each in STAGE.rglob("*") if each.is_file()]:
        if path.parts[0] not in {"mutants", ".pytest_cache"} and path not in wanted:
            (STAGE / path).unlink()


def _is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


def _copy(source: Path, target: Path) -> None:
    if _is_same(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def run(names: Sequence[str]) -> None:
    """Try the mutants of these names, or, if there are none, all that have no result yet."""
    environment = {**os.environ, "MODEL_EXAMPLES": "20", "RACE_ROUNDS": "3"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(WORKERS), *names]
    subprocess.run(command, cwd=STAGE, env=environment, check=True)


def choose(count: int, seed: int) -> list[str]:
    """Make the mutants of all modules, as a run does first, and return the names of some by chance."""
    os.chdir(STAGE)  # mutmut reads its files from there
    from mutmut.__main__ import create_mutants  # noqa: PLC0415
    from mutmut.utils.file_utils import copy_src_dir  # noqa: PLC0415

    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    create_mutants(WORKERS)
    names = sorted(results())
    return random.Random(seed).sample(names, min(count, len(names)))


def _metas() -> list[Path]:
    return sorted((STAGE / "mutants" / "realtime").rglob("*.py.meta"))


def results() -> dict[str, int | None]:
    """Return the exit code of the tests for each mutant; None where it was not tried."""
    codes: dict[str, int | None] = {}
    for path in _metas():
        codes |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return codes


def forget(names: Collection[str]) -> None:
    """Let these mutants count as not tried."""
    for path in _metas():
        meta = json.loads(path.read_text(encoding="utf-8"))
        codes = meta["exit_code_by_key"]
        codes |= dict.fromkeys(codes.keys() & set(names))
        path.write_text(json.dumps(meta, indent=4), encoding="utf-8")


def survivors(codes: dict[str, int | None]) -> Iterator[Mutant]:
    """Yield the changes of those mutants that no test noticed."""
    names = [name for name, code in codes.items() if code in _SURVIVED]
    if not names:
        return
    os.chdir(STAGE)
    from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant  # noqa: PLC0415

    for name in names:
        find_mutant(name)
        lines = get_diff_for_mutant(name).splitlines()[2:]
        before, after = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
        yield Mutant(name, before, after)


def unexplained(found: Sequence[Mutant], explanations: Sequence[Explanation]) -> list[Mutant]:
    """Return the mutants that no explanation covers."""
    return [each for each in found if not any(one.covers(each) for one in explanations)]


def report(
    codes: dict[str, int | None], found: Sequence[Mutant], explanations: Sequence[Explanation], *, sampled: bool = False
) -> bool:
    """Print a table by module and the survivors that nobody has explained; return whether that is good enough."""
    open_ = unexplained(found, explanations)
    explained = {each.name for each in found} - {each.name for each in open_}
    table: dict[str, Counter[str]] = {}
    for name, code in codes.items():
        row = table.setdefault(name.partition(".x")[0], Counter())
        row["mutants"] += 1
        kind = "untried" if code in _UNTRIED else "survived" if code in _SURVIVED else "killed"
        row[kind] += 1
        row["explained"] += name in explained
    total = sum(table.values(), Counter())
    for row_name, row in [*sorted(table.items()), ("all", total)]:
        print(
            f"{row_name:36} {row['mutants']:5} mutants {row['killed']:5} killed {_share(row):6.1%}"
            f" {row['explained']:4} explained {row['survived'] - row['explained']:4} unexplained"
            + (f" {row['untried']:5} not tried" if row["untried"] else "")
        )
    for each in open_:
        print(f"\n{each.name}\n- {each.before}\n+ {each.after}")
    if not total["untried"] and not sampled:
        for one in explanations:
            if not any(one.covers(each) for each in found):
                print(f"\nexplains nothing any more: {one.module.pattern}: {one.before.pattern}")
    slow = sum(code in _TIMED_OUT for code in codes.values())
    print(
        f"\n{_share(total):.1%} of {total['mutants'] - total['untried']} mutants killed,"
        f" {slow} of them by the time limit; {len(open_)} survivors without an explanation"
    )
    return _share(total) >= LEAST_KILLED and not open_


def _share(row: Counter[str]) -> float:
    return row["killed"] / max(1, row["mutants"] - row["untried"])


def interval(hits: int, tries: int) -> tuple[float, float]:
    """Return between which shares that of all lies with a confidence of 95 %, after a sample (Wilson's interval)."""
    share, spread = hits / tries, _Z * _Z / tries
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / tries + spread / tries / 4)
    return middle - half, middle + half


def main() -> int:
    """Run the mutants, and report."""
    parser = argparse.ArgumentParser(description="Change the core modules in small ways; show what no test notices.")
    parser.add_argument("names", nargs="*", help="patterns such as 'realtime.ids.*'; without: all not tried yet")
    parser.add_argument("--report", action="store_true", help="report on the last run alone")
    parser.add_argument("--sample", type=int, metavar="N", help="try N mutants of all modules, chosen by chance")
    parser.add_argument("--seed", type=int, default=0, help="another one chooses other mutants")
    options: Any = parser.parse_args()
    explanations = read_explanations(EXPLANATIONS.read_text(encoding="utf-8")) if EXPLANATIONS.exists() else []
    if options.report:
        codes = results()
        return 0 if report(codes, list(survivors(codes)), explanations) else 1
    if not options.names and not options.sample:  # there may be tests by now that notice these
        forget([each.name for each in unexplained(list(survivors(results())), explanations)])
    stage()
    chosen = choose(options.sample, options.seed) if options.sample else options.names
    run(chosen)
    codes = {name: code for name, code in results().items() if not options.sample or name in chosen}
    found = list(survivors(codes))
    good = report(codes, found, explanations, sampled=bool(options.sample))
    if options.sample:
        killed = sum(code not in _SURVIVED | _UNTRIED for code in codes.values())
        explained = len(found) - len(unexplained(found, explanations))
        low, high = interval(killed, len(codes))
        print(f"of all mutants, {low:.1%} to {high:.1%} are killed (95 % confidence),")
        low, high = interval(killed + explained, len(codes))
        print(f"and {low:.1%} to {high:.1%} are killed, or change nothing that a test could notice")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
