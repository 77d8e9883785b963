"""`make release VERSION=0.2.0`: the version, its section of the changelog and the lock in one commit, and a tag.

It refuses a tree with changes, a version that is not above the last, and an empty section. It makes the commit and the
tag here and pushes neither.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_VERSION: Final = re.compile(r'^version = "(\d+\.\d+\.\d+)"$', re.MULTILINE)
_UNRELEASED: Final = "## Unreleased\n"


class ReleaseError(Exception):
    """The release cannot be made; the message says what to do."""


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers, for comparison.

    Raises:
        ReleaseError: it is no version.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version!r} is no version: three numbers, such as 0.2.0")
    return tuple(map(int, version.split(".")))


def with_version(project: str, version: str) -> str:
    """Return pyproject.toml with another version.

    Raises:
        ReleaseError: it is not above the one that is there.
    """
    found = _VERSION.search(project)
    if found is None:
        raise ReleaseError("pyproject.toml has no version")
    if numbers(version) <= numbers(found[1]):
        raise ReleaseError(f"{version} is not above {found[1]}, which pyproject.toml has")
    return project[: found.start()] + f'version = "{version}"' + project[found.end() :]


def with_section(changelog: str, version: str, today: date) -> str:
    """Return the changelog with what is unreleased under the version, and an empty section above it.

    Raises:
        ReleaseError: nothing is unreleased.
    """
    before, heading, after = changelog.partition(_UNRELEASED)
    if not heading or not after.partition("\n## ")[0].strip():
        raise ReleaseError("CHANGELOG.md has nothing under Unreleased")
    return f"{before}{_UNRELEASED}\n## {version} – {today.isoformat()}\n{after}"


def section(changelog: str, version: str) -> str:
    """Return the notes of a version: its section without the heading."""
    after = changelog.partition(f"\n## {version} ")[2].partition("\n")[2]
    return after.partition("\n## ")[0].strip()


def main() -> int:
    """Release, or say what is in the way and return 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.release")
    parser.add_argument("version")
    version = parser.parse_args().version
    try:
        _release(version)
    except ReleaseError as problem:
        print(problem)
        return 1
    print(f"Released {version} here. Then: git push --follow-tags, by which GitHub makes the release of the tag.")
    return 0


def _release(version: str) -> None:
    if _run("git", "status", "--porcelain"):
        raise ReleaseError("There are changes that are not committed: commit or stash them first.")
    project, changelog = ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"
    made = with_version(project.read_text("utf-8"), version)
    told = with_section(changelog.read_text("utf-8"), version, datetime.now(UTC).date())
    project.write_text(made, encoding="utf-8")
    changelog.write_text(told, encoding="utf-8")
    _run(str(ROOT / ".tools/uv/bin/uv"), "lock", "--quiet")
    _run("make", "--silent", "sbom")
    _run("git", "commit", "--quiet", "--all", "--message", f"Release {version}")
    _run("git", "tag", "--annotate", f"v{version}", "--message", section(told, version))


def _run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
