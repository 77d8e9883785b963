"""A release: the version goes up, and what was unreleased is its section of the changelog."""

from __future__ import annotations

from datetime import date

import pytest

from tests.cloudformation import ROOT
from tools.release import ReleaseError, numbers, section, with_section, with_version

TODAY = date(2026, 11, 27)
PROJECT = '[project]\nname = "x"\nversion = "0.1.0"\n\n[tool]\nrequires = ">=1"\n'
CHANGELOG = "# Changelog\n\n## Unreleased\n\nClients:\n\n- one\n\n## 0.1.0 – 2026-01-01\n\n- first\n"


def test_the_version_goes_up_and_nothing_else_changes() -> None:
    assert with_version(PROJECT, "0.2.0") == PROJECT.replace("0.1.0", "0.2.0")


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "1.0", "v1.0.0", ""])
def test_a_version_that_is_not_above_the_last_is_refused(version: str) -> None:
    with pytest.raises(ReleaseError):
        with_version(PROJECT, version)


def test_versions_are_compared_as_numbers() -> None:
    assert numbers("0.10.0") > numbers("0.9.1")


def test_what_is_unreleased_becomes_the_versions_section() -> None:
    told = with_section(CHANGELOG, "0.2.0", TODAY)
    assert told.startswith("# Changelog\n\n## Unreleased\n\n## 0.2.0 – 2026-11-27\n\nClients:\n")
    assert section(told, "0.2.0") == "Clients:\n\n- one"
    assert section(told, "0.1.0") == "- first"


def test_a_release_without_changes_is_refused() -> None:
    told = with_section(CHANGELOG, "0.2.0", TODAY)
    with pytest.raises(ReleaseError, match="nothing under Unreleased"):
        with_section(told, "0.3.0", TODAY)


def test_our_own_files_can_be_released() -> None:
    assert with_version((ROOT / "pyproject.toml").read_text("utf-8"), "99.0.0")
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert section(with_section(changelog, "99.0.0", TODAY), "99.0.0")
