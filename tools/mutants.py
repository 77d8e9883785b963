"""Changes the core modules in small ways, one at a time, and shows which changes no fast test notices.

`make mutants` runs it. mutmut (github.com/boxed/mutmut) makes the changes, the mutants, and runs for each the tests
that reach it. It needs the package at the top of the tree, so the tree is copied to `.mutants`. The results stay there:
a second run tries only what changed. pyproject.toml says which modules are changed and which tests must notice.
`tests/mutants.toml` explains the survivors that no test can notice.

    python -m tools.mutants                      # all, then the report
    python -m tools.mutants 'realtime.ids.*'     # some
    python -m tools.mutants --report             # the report of the last run alone

Ends with status 1 if fewer than 95 % of the mutants were killed, or if a survivor has no explanation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
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
    """Try the mutants of these names, or all that have no result yet."""
    environment = {**os.environ, "MODEL_EXAMPLES": "20", "RACE_ROUNDS": "3"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(WORKERS), *names]
    subprocess.run(command, cwd=STAGE, env=environment, check=True)


def results() -> dict[str, int | None]:
    """Return the exit code of the tests for each mutant; None where it was not tried."""
    codes: dict[str, int | None] = {}
    for path in sorted((STAGE / "mutants" / "realtime").rglob("*.py.meta")):
        codes |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return codes


def survivors(names: Sequence[str]) -> Iterator[Mutant]:
    """Yield the changes of these mutants."""
    os.chdir(STAGE)  # mutmut reads its files from there
    from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant  # noqa: PLC0415

    for name in names:
        find_mutant(name)
        lines = get_diff_for_mutant(name).splitlines()[2:]
        before, after = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
        yield Mutant(name, before, after)


def report(codes: dict[str, int | None], found: Sequence[Mutant], explanations: Sequence[Explanation]) -> bool:
    """Print a table by module and the survivors that nobody has explained; return whether that is good enough."""
    explained = {each.name for each in found if any(one.covers(each) for one in explanations)}
    survived = {each.name for each in found}
    table: dict[str, Counter[str]] = {}
    for name, code in codes.items():
        row = table.setdefault(name.partition(".x")[0], Counter())
        row["mutants"] += 1
        kind = "untried" if code in _UNTRIED else "survived" if name in survived else "killed"
        row[kind] += 1
        row["explained"] += name in explained
    for row_name, row in [*sorted(table.items()), ("all", sum(table.values(), Counter()))]:
        share = row["killed"] / max(1, row["mutants"] - row["untried"])
        print(
            f"{row_name:36} {row['mutants']:5} mutants {row['killed']:5} killed {share:6.1%}"
            f" {row['survived']:4} survived, {row['explained']} of them explained"
            + (f", {row['untried']} not tried" if row["untried"] else "")
        )
    unexplained = [each for each in found if each.name not in explained]
    for each in unexplained:
        print(f"\n{each.name}\n- {each.before}\n+ {each.after}")
    idle = [one for one in explanations if not any(one.covers(each) for each in found)]
    for one in idle:
        print(f"\nexplains nothing any more: {one.module.pattern}: {one.before.pattern}")
    total = sum(table.values(), Counter())
    share = total["killed"] / max(1, total["mutants"] - total["untried"])
    print(f"\n{share:.1%} of {total['mutants']} mutants killed; {len(unexplained)} survivors without an explanation")
    return share >= LEAST_KILLED and not unexplained


def main() -> int:
    """Run the mutants, and report."""
    parser = argparse.ArgumentParser(description="Change the core modules in small ways; show what no test notices.")
    parser.add_argument("names", nargs="*", help="patterns such as 'realtime.ids.*'; without: all not tried yet")
    parser.add_argument("--report", action="store_true", help="report on the last run alone")
    options: Any = parser.parse_args()
    if not options.report:
        stage()
        run(options.names)
    codes = results()
    found = list(survivors([name for name, code in codes.items() if code in _SURVIVED]))
    explanations = read_explanations(EXPLANATIONS.read_text(encoding="utf-8")) if EXPLANATIONS.exists() else []
    return 0 if report(codes, found, explanations) else 1


if __name__ == "__main__":
    sys.exit(main())
