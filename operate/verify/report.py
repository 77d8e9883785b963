"""The report: all findings as JSON, without secrets and without the account number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from operate.verify.lines import Line, Verdict
from operate.verify.run import VerifyRun

VERSION = 1
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]*\.?[\w-]*")
_ACCOUNT = re.compile(r"(?<!\d)\d{12}(?!\d)")
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b")
_SIGNED = re.compile(r"(?i)\b(x-amz-(?:security-token|signature|credential)|token)=[^&\s\"']+")
_SHORTEST = 4
"""Length of the shortest secret that is removed; a shorter text would be found in many words."""


class Redactor:
    """Removes from texts what must not leave the account."""

    def __init__(self, secrets: Iterable[str], names: dict[str, str] | None = None) -> None:
        """Take the known secrets, and other values to be replaced by names: `{value: name}`."""
        known = dict.fromkeys(secrets, "{secret}") | {v: f"{{{n}}}" for v, n in (names or {}).items()}
        self._known = {value: name for value, name in known.items() if len(value) >= _SHORTEST}
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")  # or what matches nothing

    def text(self, text: str) -> str:
        """Return a text without these values."""
        text = self._pattern.sub(lambda found: self._known[found[0]], text)
        text = _TOKEN.sub("{token}", text)
        text = _SIGNED.sub(r"\1={secret}", text)
        text = _ACCESS_KEY.sub("{access key}", text)
        return _ACCOUNT.sub("{account}", text)

    def value(self, value: Any) -> Any:
        """Return a JSON value without these values, also in its keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value


_PRIVATE = frozenset(
    {
        "AlarmTopicArn",
        "AllowedOrigins",
        "CertificateArn",
        "CloudFrontCertificateArn",
        "HostedZoneId",
        "JwksUrl",
        "KmsKeyArn",
        "ManagementEndpoint",
        "PublisherAccounts",
        "TokenAudience",
        "TokenIssuer",
        "TokenKeys",
        "TokenKeysKmsKeyArn",
        "TokenKeysSecretArn",
    }
)
"""Parameters of which the report says only whether they are set."""


def make(run: VerifyRun, lines: Sequence[Line], seconds: float) -> dict[str, Any]:
    """Return the report of a run."""
    names = {run.account: "account", run.outputs.get("ApiId", ""): "api"}
    names |= {run.parameters.get(each, ""): each for each in ("DomainName", "CloudFrontDomainName", *_PRIVATE)}
    names = {value: name for value, name in names.items() if value and value != "true"}
    if run.is_emulated:  # its API's id is a word, and no secret
        names.pop(run.outputs.get("ApiId", ""), None)
    redactor = Redactor([*(secret for secret in run.keys.values()), *run.issued], names)
    counts = {verdict.name.lower(): sum(line.verdict is verdict for line in lines) for verdict in Verdict}
    settings = {
        name: ("set" if value else "") if name in _PRIVATE else value for name, value in sorted(run.parameters.items())
    }
    return {
        "version": VERSION,
        "began": datetime.fromtimestamp(run.began, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "seconds": round(seconds, 1),
        "region": run.deployment.clients.region,
        "emulated": run.is_emulated,
        "counts": counts,
        "settings": redactor.value(settings),
        "lines": [redactor.value(_row(line)) for line in sorted(lines, key=lambda line: line.key)],
    }


def _row(line: Line) -> dict[str, Any]:
    return {
        "key": line.key,
        "title": line.title,
        "verdict": line.verdict.name.lower(),
        "says": line.says,
        "advice": line.advice,
        "seconds": line.seconds,
        "facts": dict(line.facts),
    }


def dump(report: dict[str, Any]) -> str:
    """Return it as text."""
    return json.dumps(report, indent=2, ensure_ascii=False, default=str) + "\n"
