"""The report: all findings, and nothing that must not leave the account."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from operate.verify.report import Redactor, make
from tests.cloudformation import template

# The ends of the names of parameters with an ARN, a URL, or what an account or an identity provider is called.
NAMING = ("Arn", "Url", "Id", "Origins", "Accounts", "Issuer", "Audience")
SECRET = "a-secret-of-thirty-two-bytes-and-more"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI1In0.c2lnbmF0dXJl"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([SECRET, ""], {"ws.example.com": "DomainName", "a1b2c3d4e5": "api"})


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (f"signed with {SECRET}", "signed with {secret}"),
        (f"?token={TOKEN}&watch=1", "?token={secret}&watch=1"),
        (f"frame {TOKEN} refused", "frame {token} refused"),
        ("arn:aws:sqs:us-east-1:123456789012:queue", "arn:aws:sqs:us-east-1:{account}:queue"),
        ("key AKIAIOSFODNN7EXAMPLE", "key {access key}"),
        ("wss://ws.example.com/feed", "wss://{DomainName}/feed"),
        ("https://a1b2c3d4e5.execute-api", "https://{api}.execute-api"),
        ("X-Amz-Security-Token=abc&x=1", "X-Amz-Security-Token={secret}&x=1"),
    ],
)
def test_a_report_leaves_out_secrets_and_the_account(redactor: Redactor, text: str, without: str) -> None:
    assert redactor.text(text) == without


def test_moments_and_counts_stay(redactor: Redactor) -> None:
    kept = "01a215a4e5005ab7a9774b62d784 of 1764123456789, 33,831 bytes, realtime-verify-6b079638-10"
    assert redactor.text(kept) == kept


def test_redaction_reaches_every_value_in_json(redactor: Redactor) -> None:
    value = {"facts": {SECRET: [f"a {SECRET}", 3, None, True]}}
    assert redactor.value(value) == {"facts": {"{secret}": ["a {secret}", 3, None, True]}}


def test_of_a_parameter_that_names_something_of_yours_the_report_says_only_that_it_is_set() -> None:
    named = [name for name in template()["Parameters"] if name.endswith(NAMING)]
    assert len(named) >= 12
    run: Any = SimpleNamespace(
        account="123456789012",
        outputs={},
        parameters={**dict.fromkeys(named, "mine-alone"), "LeaseSeconds": "90", "RejectionMode": ""},
        is_emulated=False,
        keys={},
        issued=[],
        began=0.0,
        deployment=SimpleNamespace(clients=SimpleNamespace(region="us-east-1")),
    )
    settings = make(run, [], 1.0)["settings"]
    assert settings == {**dict.fromkeys(named, "set"), "LeaseSeconds": "90", "RejectionMode": ""}


def test_the_longest_secret_is_taken_out_first() -> None:
    assert Redactor(["secret", "secret-and-more"]).text("secret-and-more") == "{secret}"
