"""The command line and the environment of a function's process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from samsocket.errors import FunctionUnavailableError
from samsocket.functions.spec import FunctionSpec, family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_HERE: Final = Path(__file__).parent
_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True, kw_only=True)
class Host:
    """What all functions of a run share.

    `port` is where AWS names lead; `aws` are variables for AWS's SDKs, `authority` the file of certificates that they
    trust, ours among them, `own_authority` ours alone. `pythons` are interpreters by runtime, `sdk` is a folder with
    Lambda's own Node packages. `debugged` gives the port on which a function, by its logical id, waits for a debugger.
    """

    port: int
    region: str
    aws: Mapping[str, str]
    authority: Path
    own_authority: Path
    pythons: Mapping[str, Path] = field(default_factory=dict)
    node: str = "node"
    sdk: Path | None = None
    debugged: Mapping[str, int] = field(default_factory=dict)


def command(spec: FunctionSpec, host: Host) -> list[str]:
    """Return the command that starts a process of a function.

    Raises:
        FunctionUnavailableError: nothing here runs its runtime.
    """
    debug = host.debugged.get(spec.logical_id)
    match family_of(spec.runtime):
        case "python" if spec.runtime in host.pythons:
            waiting = ["-m", "debugpy", "--listen", f"127.0.0.1:{debug}", "--wait-for-client"] if debug else []
            return [str(host.pythons[spec.runtime]), *waiting, str(_HERE / "python_worker.py")]
        case "node":
            waiting = [f"--inspect-brk=127.0.0.1:{debug}"] if debug else []
            return [host.node, *waiting, "--require", str(_HERE / "node_hooks.cjs"), str(_HERE / "node_worker.mjs")]
        case "custom":
            bootstrap = next((folder / "bootstrap" for folder in spec.code if (folder / "bootstrap").exists()), None)
            if bootstrap is not None:
                return [str(bootstrap)]
    raise FunctionUnavailableError(f"{spec.logical_id}: the runtime {spec.runtime} cannot be run here")


def environment(spec: FunctionSpec, host: Host, runtime_api: str) -> dict[str, str]:
    """Return the environment of a function's process: Lambda's own variables, and nothing of this machine's AWS keys.

    Source: docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    """
    node_path = [*(folder / "node_modules" for folder in spec.code)]
    node_path += [layer / "nodejs" / "node_modules" for layer in spec.layers]
    python_path = list(spec.code)
    for layer in spec.layers:
        python_path += [layer / "python", *layer.glob("python/lib/python3.*/site-packages")]
    if host.sdk is not None:
        node_path.append(host.sdk / "node_modules")
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": "true",
        "TZ": ":UTC",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{spec.runtime}",
        "AWS_REGION": host.region,
        "AWS_DEFAULT_REGION": host.region,
        "AWS_LAMBDA_FUNCTION_NAME": spec.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{spec.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[$LATEST]samsocket",
        "LAMBDA_TASK_ROOT": str(spec.code[0]),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CA_BUNDLE": str(host.authority),
        "REQUESTS_CA_BUNDLE": str(host.authority),
        "SSL_CERT_FILE": str(host.authority),
        "NODE_EXTRA_CA_CERTS": str(host.own_authority),
        **spec.environment,
        **host.aws,
        **spec.role,
        "_HANDLER": spec.handler,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "NODE_PATH": os.pathsep.join(map(str, node_path)),
        "SAMSOCKET_NODE_PATH": os.pathsep.join(str(path.parent) for path in node_path),
        "SAMSOCKET_PATH": os.pathsep.join(map(str, python_path)),
        "SAMSOCKET_PORT": str(host.port),
    }
