"""The programs that the tool brings, each in an environment of its own below the user's cache folder.

The emulator and the SAM CLI pin libraries in versions that exclude each other, and functions must see none of them.
`*.txt` beside this file are their pinned and hashed lists of packages. SAMSOCKET_HOME names another folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import uv

from samsocket.errors import StartError
from samsocket.held import held

_LISTS: Final = Path(__file__).parent
_PRIVATE: Final = 0o700
CERTIFICATE: Final = "ca.pem"
SDK_VERSION: Final = "3.1169.0"
"""Of the AWS SDK for JavaScript, which Lambda's Node runtimes bring."""

_IMPORT: Final = re.compile(r"""["'](@(?:aws-sdk|smithy|aws-crypto)/[a-z0-9-]+)["'/]""")
_BASE_SDK: Final = frozenset(
    {"@aws-sdk/client-apigatewaymanagementapi", "@aws-sdk/client-dynamodb", "@aws-sdk/lib-dynamodb"}
)


def home() -> Path:
    """Return the folder of the environments, which only this user can read."""
    given = os.environ.get("SAMSOCKET_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(given) if given else cache / "samsocket"
    folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
    return folder.resolve()


def authority() -> Path:
    """Return the folder of the authority for this machine's own certificates; its file CERTIFICATE is to be trusted."""
    return home() / "authority"


class Environments:
    """Installs what is not there yet. Several runs may do so at once."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Take the folder, and what shows a person one line of progress."""
        self._folder, self._say = folder, say

    def ministack(self) -> Path:
        """Return the interpreter that has the emulator."""
        return self._python("ministack", "the AWS emulator MiniStack", sys.executable)

    def sam(self) -> Path:
        """Return the SAM CLI."""
        return self._python("sam", "the SAM CLI", sys.executable).with_name("sam")

    def python(self, runtime: str, *, debugged: bool) -> Path:
        """Return an interpreter for a runtime such as `python3.12`: that version if it is here, else the tool's own."""
        name = runtime if _runs(runtime) else f"python{sys.version_info.major}.{sys.version_info.minor}"
        base = name if _runs(name) else sys.executable
        lists = ("python", "debugpy") if debugged else ("python",)
        suffix = "-debugged" if debugged else ""
        return self._python(name + suffix, f"Lambda's packages for {name}", base, lists, has_pip=True)

    def node_sdk(self, folders: Iterable[Path]) -> Path:
        """Return a folder with the packages of the AWS SDK that sources import."""
        wanted = sorted(_BASE_SDK | {name for folder in folders for name in _imported(folder)})
        target = self._folder / f"node-sdk-{SDK_VERSION}"
        manifest = target / "package.json"
        with self._held("node-sdk"):
            known = json.loads(manifest.read_text("utf-8"))["dependencies"] if manifest.is_file() else {}
            if set(wanted) <= set(known):
                return target
            self._say("installing the AWS SDK for JavaScript")
            if shutil.which("npm") is None:
                raise StartError("npm is not installed, which the AWS SDK for Node functions comes by: install Node 20")
            target.mkdir(parents=True, exist_ok=True)
            asked = {name: SDK_VERSION if name.startswith("@aws-sdk/") else "*" for name in {*wanted, *known}}
            trial = target / "trial.json"
            trial.write_text(json.dumps({"private": True, "dependencies": asked}), encoding="utf-8")
            staged = target / "staged"
            staged.mkdir(exist_ok=True)
            (staged / "package.json").write_text(trial.read_text("utf-8"), encoding="utf-8")
            # What is in npm's cache is not asked for again: the versions of the SDK are fixed.
            command = ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]
            run(command, "npm install", cwd=staged)
            shutil.rmtree(target / "node_modules", ignore_errors=True)
            (staged / "node_modules").rename(target / "node_modules")
            shutil.rmtree(staged)
            trial.rename(manifest)
        return target

    def _python(self, name: str, what: str, base: str, lists: tuple[str, ...] = (), *, has_pip: bool = False) -> Path:
        """Return the interpreter of an environment that has what its list says, and pip where `sam build` uses it."""
        folder = self._folder / name
        python = folder / "bin" / "python"
        files = [_LISTS / f"{each}.txt" for each in lists or (name,)]
        wanted = "".join(file.read_text("utf-8") for file in files)
        with self._held(name):
            ready = folder / ".ready"
            if ready.is_file() and ready.read_text("utf-8") == wanted and python.exists():
                return python
            self._say(f"installing {what}")
            program = uv.find_uv_bin()
            seed = ["--seed"] if has_pip else []
            venv = [program, "venv", "--quiet", "--clear", *seed, "--python", base, str(folder)]
            run(venv, f"an environment for {what}")
            listed = [word for file in files for word in ("-r", str(file))]
            install = [program, "pip", "install", "--quiet", "--require-hashes", "--python", str(python), *listed]
            run(install, f"installing {what}")
            ready.write_text(wanted, encoding="utf-8")
        return python

    def _held(self, name: str) -> AbstractContextManager[None]:
        """Let one process at a time install an environment."""
        return held(self._folder / f".{name}.lock")


def run(command: list[str], what: str, cwd: Path | None = None) -> None:
    """Run a command to its end.

    Raises:
        StartError: it fails; the text has the end of its output.
    """
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise StartError(f"{what} failed with exit code {done.returncode}:\n\n{output}")


def _runs(interpreter: str) -> bool:
    """Return whether an interpreter is there and starts: a version manager may have a name for one that it has not."""
    if shutil.which(interpreter) is None:
        return False
    return subprocess.run([interpreter, "-c", ""], capture_output=True, check=False).returncode == 0


def _imported(folder: Path) -> Iterator[str]:
    """Yield the packages of the SDK that the JavaScript below a folder imports, without what is installed there."""
    for path in folder.rglob("*.[cmjt]*s"):
        inside = path.relative_to(folder).parts
        if path.suffix in (".js", ".mjs", ".cjs", ".ts") and not {"node_modules", ".aws-sam"} & set(inside):
            yield from _IMPORT.findall(path.read_text("utf-8", errors="replace"))
