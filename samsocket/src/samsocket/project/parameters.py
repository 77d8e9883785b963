"""The values of a template's parameters: those of samconfig.toml, and those of the command line, which count more."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import TYPE_CHECKING, Any, Final

from samsocket.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LONG: Final = re.compile(r"ParameterKey=(?P<key>[^,]+),ParameterValue=(?P<value>.*)", re.DOTALL)


def parse(words: Iterable[str]) -> dict[str, str]:
    """Read `Key=Value` and `ParameterKey=Key,ParameterValue=Value`, several of them in a word or one.

    Raises:
        StartError: a word is neither.
    """
    found = {}
    for word in (part for given in words for part in shlex.split(given)):
        long = _LONG.fullmatch(word)
        key, equals, value = (long["key"], "=", long["value"]) if long else word.partition("=")
        if not equals or not key:
            raise StartError(f"--parameter-overrides {word}: write Key=Value")
        found[key] = value
    return found


def of_project(folder: Path, environment: str = "default") -> dict[str, str]:
    """Return the parameter overrides that `sam deploy` would take from a folder's samconfig.toml."""
    try:
        config: Any = tomllib.loads((folder / "samconfig.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found: dict[str, str] = {}
    for section in ("global", "deploy"):
        given = config.get(environment, {}).get(section, {}).get("parameters", {}).get("parameter_overrides", [])
        found |= parse([given] if isinstance(given, str) else [str(word) for word in given])
    return found
