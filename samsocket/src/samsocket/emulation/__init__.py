"""The AWS emulator MiniStack, behind a check of its callers."""

from __future__ import annotations

from pathlib import Path

_RUN = """
import importlib, sys, types
package = types.ModuleType("samsocket")
package.__path__ = [{folder!r}]
sys.modules["samsocket"] = package
importlib.import_module("samsocket.emulation.guarded").main()
"""


def guarded_emulator(python: Path, *ports: int, aws_names: bool = False) -> list[str | Path]:
    """Return the command that runs the emulator; `python` is its own interpreter, where it is installed.

    `ports` are those, beside its own, that a `Host` may name; with `aws_names`, it may be one of AWS's own names. That
    interpreter gets our package alone, not what is installed beside it, and not by PYTHONPATH, which the emulator's
    functions would inherit.
    """
    run = _RUN.format(folder=str(Path(__file__).parents[1]))
    words = [word for port in ports for word in ("--gateway-port", str(port))]
    return [python, "-c", run, *words, *(["--aws-names"] if aws_names else [])]
