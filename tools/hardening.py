"""`python -m tools.hardening`: hold the template to checkov, with all that hardens it and with its defaults.

checkov sees what CloudFormation would make: the transformed template with its conditions decided, so that it judges the
values and not the functions that yield them. It asks no network. Each check that fails has its reason here, or the
command fails; and a reason that no check needs any more is named, too.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aws_rules.documents import TEMPLATE, parsed
from aws_rules.parameters import sets
from aws_rules.stacks import Stack

CHECKOV: Final = TEMPLATE.parent / ".tools/checks/bin/checkov"
JUDGED: Final = ("default", "hardened")
"""The sets of parameters, by their names in aws_rules/parameters.py."""

BY_PARAMETER: Final = {
    "CKV_AWS_27": ("KmsKeyArn", "queues have SQS's own key"),
    "CKV_AWS_28": ("Protect", "tables cannot be restored to a second of the past"),
    "CKV_AWS_95": ("AccessLogs", "no access logs"),
    "CKV_AWS_119": ("KmsKeyArn", "tables have DynamoDB's own key"),
    "CKV_AWS_149": ("KmsKeyArn", "the secret has Secrets Manager's key"),
    "CKV_AWS_158": ("KmsKeyArn", "logs have CloudWatch's own key"),
    "CKV_AWS_173": ("KmsKeyArn", "environments have Lambda's own key; no secret is in them"),
}
"""Checks that fail with the defaults alone: the parameter that mends it, and what is without it.

They are off by default because each costs money, needs something that the account must have first, or both.
"""

FUNCTIONS: Final = frozenset(
    f"{name}Function"
    for name in (
        *("Connect", "Disconnect", "Default", "Ingest", "Announce", "Broadcast", "BroadcastWide"),
        *("Admin", "Deadlines", "Farewell", "Late", "Sweep"),
    )
)
DELIVERING: Final = frozenset(f"{name}Function" for name in ("Announce", "Broadcast", "BroadcastWide", "Deadlines"))

ACCEPTED: Final = {
    ("CKV_AWS_115", "hardened"): (
        FUNCTIONS - DELIVERING,
        (
            "a reservation is a limit, too. The functions of clients may use what the account has, behind their "
            "stages' throttles; their queues' mappings bound ingest, farewell and late; of sweep there is one."
        ),
    ),
    ("CKV_AWS_115", "default"): (
        FUNCTIONS,
        (
            "a reservation takes executions from all others of the account, and a new account has none to give: "
            "ReservedConcurrency makes it for those that deliver."
        ),
    ),
    ("CKV_AWS_116", "default"): (
        FUNCTIONS,
        (
            "DeadLetterConfig is for asynchronous invocations. There is the sweep's alone, which the next minute's "
            "replaces; what streams and queues could not hand over has queues of its own, with alarms."
        ),
    ),
    ("CKV_AWS_117", "default"): (
        FUNCTIONS,
        (
            "no function uses anything within a VPC. In one, each needs a way out to API Gateway, DynamoDB, SQS, "
            "EventBridge and, for JwksUrl, the internet: NAT gateways that cost money by the hour, and guard nothing."
        ),
    ),
}
"""Checks that fail on purpose: by check and set, the resources and the reason. `default` counts for both sets."""


def problems(failed: Mapping[str, Iterable[tuple[str, str]]]) -> Iterator[str]:
    """Return what has no reason, and reasons without need; `failed` has check and resource, by set of parameters."""
    met: set[object] = set()
    for name, found in failed.items():
        for check, resource in found:
            key = next((each for each in ((check, name), (check, "default")) if each in ACCEPTED), None)
            if key and resource in ACCEPTED[key][0]:
                met.add(key)
            elif name == "default" and check in BY_PARAMETER:
                met.add(check)
            else:
                yield f"{name}: {resource} fails {check}, and no reason stands in tools/hardening.py"
    for reason in [*BY_PARAMETER, *ACCEPTED]:
        if reason not in met:
            yield f"no check needs the reason {reason} any more"


def failures(report: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the failed checks of checkov's report, by the file's name: check and logical id."""
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in JUDGED}
    for each in report["results"]["failed_checks"]:
        found[Path(each["file_path"]).stem].append((each["check_id"], each["resource"].rpartition(".")[2]))
    if report["results"].get("parsing_errors"):
        raise ValueError(f"checkov cannot read {report['results']['parsing_errors']}")
    return found


def run() -> dict[str, list[tuple[str, str]]]:
    """Have checkov judge the sets."""
    logging.disable(logging.WARNING)  # SAM's transform speaks of features that it lacks
    document = parsed(TEMPLATE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        for chosen in sets(document):
            if chosen.name in JUDGED:
                made = Stack(document, chosen).document(concrete=False)
                Path(folder, f"{chosen.name}.json").write_text(json.dumps(made), encoding="utf-8")
        command = [str(CHECKOV), "-d", folder, "--framework", "cloudformation", "-o", "json", "--quiet", "--compact"]
        command += ["--skip-download", "--soft-fail"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return failures(json.loads(done.stdout))


def main() -> int:
    """Print what has no reason, and return 1 if there is anything."""
    failed = run()
    found = list(problems(failed))
    for each in found:
        print(each)
    counts = ", ".join(f"{len(failed[name])} failed with {name}" for name in JUDGED)
    print(f"checkov: {counts}; {len(found)} without a reason")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
