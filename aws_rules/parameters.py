"""The sets of parameter values with which the template is checked, and whether the template accepts them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aws_rules.documents import Document

ACCOUNT: Final = "123456789012"
REGION: Final = "us-east-1"
LONGEST_REGION: Final = "ap-southeast-1"
LONGEST_STACK_NAME: Final = "s" * 128  # the longest that CloudFormation accepts
SAMCONFIG: Final = Path(__file__).resolve().parents[1] / "samconfig.toml"


@dataclass(frozen=True)
class ParameterSet:
    """Values that a stack is deployed with. Other parameters have the template's default.

    A `thorough` set is also checked with each other value of each parameter, as an update, and linted with plausible
    values in place of references. Together, these sets have every condition true and false.
    """

    name: str
    given: Mapping[str, str] = field(default_factory=dict)
    stack: str = "listener-realtime"
    region: str = REGION
    thorough: bool = False
    emulated: bool = False  # deployed to an emulator alone, which lacks some resources

    def values(self, document: Document) -> dict[str, str]:
        """All parameters' values, as CloudFormation gives them: text."""
        defaults = {name: str(body.get("Default", "")) for name, body in document.get("Parameters", {}).items()}
        return defaults | dict(self.given)


DOMAIN: Final = {
    "DomainName": "ws.example.com",
    "CertificateArn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/2f1b9c3e-0000-4000-8000-000000000000",
    "HostedZoneId": "Z0123456789ABCDEFGHIJ",
}
CLOUDFRONT: Final = {
    "CloudFront": "true",
    "CloudFrontDomainName": "live.example.com",
    "CloudFrontCertificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/9d8c7b6a-0000-4000-8000-000000000000",
}
JWKS: Final = {
    "JwksUrl": "https://cognito-idp.ap-southeast-2.amazonaws.com/ap-southeast-2_AbCdEfGhI/.well-known/jwks.json",
    "TokenIssuer": "https://cognito-idp.ap-southeast-2.amazonaws.com/ap-southeast-2_AbCdEfGhI",
    "TokenAudience": "1example23456789abcdefghijk",
}
SECRET: Final = {
    "TokenKeysSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:realtime/token-keys-AbCdEf",
    "TokenKeysKmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/2f1b9c3e-0000-4000-8000-000000000000",
}
KEY: Final = {"KmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/2f1b9c3e-0000-4000-8000-000000000000"}
HARDENED: Final = KEY | {
    "Protect": "true",
    "AccessLogs": "true",
    "ReservedConcurrency": "16",
    "AllowedOrigins": "https://app.example.com,https://www.example.com",
    "PublisherAccounts": "210987654321,345678901234",
    "DeploymentPreference": "Canary10Percent10Minutes",
}
TOPIC: Final = {"AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:operators"}
EMULATED: Final = {  # as local/stack.py passes them
    "ApiTag": "realtime",
    "ManagementEndpoint": "http://localhost:8080/_aws/execute-api/realtime",
    "IngestConcurrency": "4",
}


def _filled(start: str, length: int, end: str = "") -> str:
    return start + "x" * (length - len(start) - len(end)) + end


def longest(document: Document) -> dict[str, str]:
    """Every parameter at its longest: free text at its MaxLength, numbers at their largest, options switched on."""
    arn = f"arn:aws:{{}}:{LONGEST_REGION}:{ACCOUNT}:"
    starts = {
        "TokenKeysSecretArn": arn.format("secretsmanager") + "secret:",
        "TokenKeysKmsKeyArn": arn.format("kms") + "key/2f1b9c3e-0000-4000-8000-000000000000",
        "JwksUrl": "https://",
        "TokenKeys": "",  # the secret's ARN is longer, and only one of the two may be given
        "DomainName": "ws.example.com",
        "CertificateArn": arn.format("acm") + "certificate/2f1b9c3e-0000-4000-8000-000000000000",
        "HostedZoneId": "Z" + "X" * 31,
        "CloudFrontDomainName": "live.example.com",
        "CloudFrontCertificateArn": CLOUDFRONT["CloudFrontCertificateArn"],
        "KmsKeyArn": arn.format("kms") + "key/2f1b9c3e-0000-4000-8000-000000000000",
        "AllowedOrigins": "https://",
        "PublisherAccounts": ",".join([ACCOUNT] * 20),
        "AlarmTopicArn": arn.format("sns") + "x" * 256,
        "BusName": "b" * 256,
        "FeedRole": "r" * 64,
        "ApiTag": "",
        "ManagementEndpoint": "",
    }
    values: dict[str, str] = {}
    for name, body in document.get("Parameters", {}).items():
        start = starts.get(name, "")
        if "AllowedValues" in body:
            values[name] = str(max(body["AllowedValues"], key=lambda value: len(str(value))))
        elif body["Type"] == "Number":
            values[name] = str(body["MaxValue"])
        elif name in ("DomainName", "CloudFrontDomainName"):
            labels = [start, *["x" * 63] * 4]
            values[name] = ".".join(reversed(labels))[-int(body.get("MaxLength", 253)) :].lstrip(".")
        elif "MaxLength" in body and (start or name not in starts):
            values[name] = _filled(start, int(body["MaxLength"]))
        else:
            values[name] = start
    options = ("AccessLogs", "CloudFront", "DisableExecuteApiEndpoint", "EventSchemas", "Protect")
    return values | dict.fromkeys(options, "true") | {"SnapStart": "all", "LiveShare": "most"}


def sets(document: Document) -> list[ParameterSet]:
    """The sets that matter: each way of deploying that the template offers, and the ends of what it allows."""
    production = tomllib.loads(SAMCONFIG.read_text(encoding="utf-8"))["prod"]["deploy"]["parameters"]
    overrides = dict(pair.split("=", 1) for pair in production.get("parameter_overrides", "").split())
    return [
        ParameterSet("default", thorough=True),
        ParameterSet("prod", overrides, production["stack_name"]),
        ParameterSet("embedded", EMULATED, thorough=True, emulated=True),
        ParameterSet("domain", DOMAIN | TOPIC),
        ParameterSet("domain, its record elsewhere", DOMAIN | {"HostedZoneId": ""}),
        ParameterSet("domain alone", DOMAIN | {"DisableExecuteApiEndpoint": "true"}),
        ParameterSet("CloudFront", {"CloudFront": "true"}, thorough=True),
        ParameterSet(
            "CloudFront, both domains", {**DOMAIN, **CLOUDFRONT, "DisableExecuteApiEndpoint": "true"}, thorough=True
        ),
        ParameterSet("JWKS", JWKS | {"RejectionMode": "handshake", "LiveShare": "most"}, thorough=True),
        ParameterSet("secret", SECRET | {"LiveShare": "most", "PostsShare": "nine-tenths"}),
        ParameterSet("SSM parameter", {"TokenKeys": "/listener/realtime/token-keys"}, thorough=True),
        ParameterSet("bus of another name", {"BusName": "marketplace", "EventSchemas": "true", "SnapStart": "clients"}),
        ParameterSet("SnapStart", {"SnapStart": "all", "Protect": "true"}),
        ParameterSet("hardened", HARDENED | TOPIC, thorough=True),
        ParameterSet("longest", longest(document), LONGEST_STACK_NAME, LONGEST_REGION, thorough=True),
    ]


def refused(document: Document, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The parameters whose values CloudFormation would refuse before it makes anything, each with the reason."""
    known = document.get("Parameters", {})
    for name, value in values.items():
        body = known.get(name)
        if body is None:
            yield name, "is no parameter of the template"
        elif why := _refusal(body, value):
            yield name, f"{value!r} {why}"


def _refusal(body: Mapping[str, Any], value: str) -> str | None:
    if "AllowedValues" in body and value not in map(str, body["AllowedValues"]):
        return f"is none of {', '.join(map(str, body['AllowedValues']))}"
    if "AllowedPattern" in body and not re.fullmatch(body["AllowedPattern"], value):
        return f"does not match {body['AllowedPattern']}"
    if body["Type"] == "Number":
        least, most = float(body.get("MinValue", "-inf")), float(body.get("MaxValue", "inf"))
        return None if least <= float(value) <= most else f"is not within {least:g} and {most:g}"
    if not int(body.get("MinLength", 0)) <= len(value) <= int(body.get("MaxLength", 4096)):
        return f"has {len(value)} characters"
    return None
