"""Checks for the operator: alarms are quiet, and functions run with the stack's settings."""

from __future__ import annotations

import re

import pytest

from operate.state import ROOT
from operate.verify.lines import FailedError, SkippedError
from operate.verify.operation import MAPPINGS, NAMED, QUEUES, judge_alarms, judge_version

OUTPUTS = {"UsersTableName": "Users-1", "ManagementUrl": "https://api/", "BusName": "bus"}
GOOD = {"USERS_TABLE": "Users-1", "MANAGEMENT_ENDPOINT": "https://api", "LEASE_SECONDS": "900"}


def test_a_version_with_todays_settings_is_good() -> None:
    assert judge_version(GOOD, GOOD, OUTPUTS, "7") == []
    numbered = GOOD | {"CONFIGURATION_VERSION": "7"}
    assert judge_version(numbered, numbered, OUTPUTS, "7") == []


def test_a_version_that_was_left_behind_is_named_by_its_variables_without_their_values() -> None:
    (problem,) = judge_version(GOOD | {"LEASE_SECONDS": "60"}, GOOD, OUTPUTS, None)
    assert "LEASE_SECONDS" in problem
    assert "60" not in problem


def test_a_version_that_names_a_resource_of_yesterday_is_found_even_if_latest_does_too() -> None:
    old = GOOD | {"USERS_TABLE": "Users-0"}
    assert judge_version(old, old, OUTPUTS, None) == ["live's USERS_TABLE is not the stack's UsersTableName"]
    numbered = GOOD | {"CONFIGURATION_VERSION": "6"}
    assert judge_version(numbered, numbered, OUTPUTS, "7") == [
        "live's CONFIGURATION_VERSION is not the stack's Configuration"
    ]


def test_alarms() -> None:
    states = {"a": "OK", "b": "INSUFFICIENT_DATA"}
    judge_alarms(["a", "b"], states, {})
    with pytest.raises(SkippedError):
        judge_alarms([], {}, {})
    with pytest.raises(FailedError, match="c: not there"):
        judge_alarms(["a", "c"], states, {})
    with pytest.raises(FailedError) as raised:
        judge_alarms(["a", "b"], states | {"b": "ALARM"}, {"b": "It is late."})
    assert raised.value.advice == "It is late."


def test_the_template_has_all_that_verify_looks_at() -> None:
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    for output in {*NAMED.values(), *QUEUES}:
        assert re.search(rf"^  {output}:$", text, re.MULTILINE), output
    for variable in NAMED:
        assert re.search(rf"^          {variable}:", text, re.MULTILINE), variable
    named = len(re.findall(r"^            (?:Stream|Queue): !GetAtt", text, re.MULTILINE))
    assert named == MAPPINGS
