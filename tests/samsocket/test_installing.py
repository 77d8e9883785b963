"""What the functions of a project need, and what of a project does not run here."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from samsocket.emulation.deployment import Account
from samsocket.environments import Environments
from samsocket.errors import StartError
from samsocket.functions.commands import Host
from samsocket.installing import host_of
from samsocket.project.expansion import Project
from samsocket.project.preparing import not_served
from samsocket.project.sources import Source
from samsocket.tls import Authority

WITHIN = 30.0


class FakeEnvironments(Environments):
    """Installs nothing; each call waits until `together` calls are on their way."""

    def __init__(self, folder: Path, *, together: int = 1, fails: str = "") -> None:
        super().__init__(folder, lambda _: None)
        self.asked: list[str] = []
        self._barrier, self._fails, self._root = threading.Barrier(together), fails, folder

    def python(self, runtime: str, *, debugged: bool) -> Path:
        self._note(f"{runtime} debugged" if debugged else runtime)
        return self._root / runtime / "bin" / "python"

    def node_sdk(self, folders: Any) -> Path:
        self._note(f"sdk {sorted(map(str, folders))}")
        return self._root / "sdk"

    def _note(self, asked: str) -> None:
        self.asked.append(asked)
        self._barrier.wait(WITHIN)
        if asked == self._fails:
            raise StartError(f"{asked} cannot be installed")


def project(**runtimes: str) -> Project:
    """A project of functions with these runtimes, by logical id."""
    resources = {
        name: {"Type": "AWS::Lambda::Function", "Properties": {"Runtime": runtime}}
        for name, runtime in runtimes.items()
    }
    template = {"Resources": resources}
    return Project(Path("/x/template.yaml"), template, template, {name: Path("/x") / name for name in runtimes})


def host(environments: Environments, of: Project, folder: Path, **debugged: int) -> tuple[Host, list[str]]:
    """The host of a project, and what it said."""
    said: list[str] = []
    account = Account.new(4566, "eu-west-1")
    authority = Authority(folder / "authority")
    return host_of(of, account, environments, authority, port=3001, debugged=debugged, say=said.append), said


def test_environments_are_installed_side_by_side_and_each_once(tmp_path: Path) -> None:
    environments = FakeEnvironments(tmp_path, together=3)
    of = project(A="python3.12", B="python3.12", C="python3.13", D="nodejs20.x", E="nodejs22.x", F="java21")
    found, _ = host(environments, of, tmp_path)
    assert sorted(environments.asked) == ["python3.12", "python3.13", "sdk ['/x/D', '/x/E']"]
    assert set(found.pythons) == {"python3.12", "python3.13"}
    assert found.sdk == tmp_path / "sdk"
    assert (found.port, found.region) == (3001, "eu-west-1")


def test_what_cannot_be_installed_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"python3\.13 cannot be installed"):
        host(
            FakeEnvironments(tmp_path, together=2, fails="python3.13"),
            project(A="python3.13", B="nodejs20.x"),
            tmp_path,
        )


def test_without_node_the_functions_that_need_it_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samsocket.installing.shutil.which", lambda _: None)
    environments = FakeEnvironments(tmp_path)
    with pytest.raises(StartError, match="node is not installed, which Chat need"):
        host(environments, project(Chat="nodejs20.x"), tmp_path)
    assert environments.asked == []


def test_a_python_that_is_not_here_is_named(tmp_path: Path) -> None:
    there = tmp_path / "python3.14" / "bin"
    there.mkdir(parents=True)
    (there / "python3.11").touch()
    _, said = host(FakeEnvironments(tmp_path), project(A="python3.14"), tmp_path)
    assert said == ["python3.14 is not on this machine: its functions run on python3.11"]


def test_a_debugged_function_gets_a_debugger(tmp_path: Path) -> None:
    environments = FakeEnvironments(tmp_path)
    found, _ = host(environments, project(A="python3.13"), tmp_path, A=5678)
    assert environments.asked == ["python3.13 debugged"]
    assert found.debugged == {"A": 5678}


def test_what_is_not_served_is_named_but_not_what_the_gateway_serves_itself() -> None:
    of = project(Java="java21", Remote="python3.13", Here="python3.13")
    of.expanded["Resources"]["Image"] = {"Type": "AWS::Lambda::Function", "Properties": {"PackageType": "Image"}}
    left_out = {
        "Zone": "AWS::Route53::RecordSetGroup",
        "Stage": "AWS::ApiGatewayV2::Stage",
        "L": "AWS::Lambda::LayerVersion",
    }
    found = {"Here": Source("Here", Path("/x"), None, is_live=True)}
    assert list(not_served(of, left_out, found)) == [
        "not served: Zone (AWS::Route53::RecordSetGroup)",
        "not served: Java (the runtime java21: Python, Node and custom ones are)",
        "not served: Remote (its code is not on this machine)",
        "not served: Image (a container image, which needs Docker)",
    ]
