"""The layer's own botocore, pruned to the services that the functions call, makes their clients."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import botocore
import pytest

from tests.cloudformation import ROOT

LAYER = ROOT / "layers" / "realtime"
CALLED = {
    service
    for path in (LAYER / "realtime").rglob("*.py")
    for service in re.findall(r'client\("(\w+)"\)', path.read_text(encoding="utf-8"))
}
OTHERS = {"_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json"}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with botocore as the layer has it."""
    folder = tmp_path_factory.mktemp("layer")
    source = Path(botocore.__file__).parent
    shutil.copytree(source, folder / "python" / "botocore", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "ARTIFACTS_DIR": str(folder)}
    subprocess.run(["make", "-s", "-C", str(LAYER), "prune"], env=environment, check=True)
    return folder / "python"


def test_the_layer_keeps_the_descriptions_that_the_functions_use(pruned: Path) -> None:
    data = pruned / "botocore" / "data"
    assert {path.name for path in data.iterdir()} - OTHERS == CALLED
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) < 2_000_000


@pytest.mark.parametrize("service", sorted(CALLED))
def test_the_kept_descriptions_suffice_for_a_client(pruned: Path, service: str) -> None:
    code = (
        "import botocore; from realtime.aws import clients\n"
        f"made = clients.client({service!r})\n"
        "print(botocore.__file__, made.meta.endpoint_url, made.meta.config.retries['mode'])"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{pruned}:{LAYER}",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    file, url, mode = ended.stdout.split()
    assert Path(file).is_relative_to(pruned)
    assert "eu-central-1" in url
    assert mode == "standard"
