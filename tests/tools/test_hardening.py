"""What checkov finds in the template has a reason, and no reason is left over."""

from __future__ import annotations

from aws_rules.documents import TEMPLATE, parsed
from tools.hardening import ACCEPTED, BY_PARAMETER, FUNCTIONS, failures, problems

REASONED = {
    "default": [
        *((check, "UsersTable") for check in BY_PARAMETER),
        *((check, name) for (check, chosen), (names, _) in ACCEPTED.items() if chosen == "default" for name in names),
    ],
    "hardened": [
        (check, name) for (check, chosen), (names, _) in ACCEPTED.items() if chosen == "hardened" for name in names
    ],
}


def test_what_has_a_reason_is_accepted() -> None:
    assert list(problems(REASONED)) == []


def test_a_new_failure_is_named() -> None:
    failed = {**REASONED, "default": [*REASONED["default"], ("CKV_AWS_999", "Api")]}
    (problem,) = problems(failed)
    assert "Api fails CKV_AWS_999" in problem


def test_what_a_parameter_mends_may_not_fail_with_that_parameter() -> None:
    failed = {**REASONED, "hardened": [*REASONED["hardened"], ("CKV_AWS_119", "UsersTable")]}
    (problem,) = problems(failed)
    assert problem.startswith("hardened: UsersTable fails CKV_AWS_119")


def test_a_reason_that_no_check_needs_is_named() -> None:
    failed = {name: [each for each in found if each[0] != "CKV_AWS_117"] for name, found in REASONED.items()}
    (problem,) = problems(failed)
    assert "CKV_AWS_117" in problem


def test_each_parameter_that_is_named_exists_and_so_does_each_function() -> None:
    document = parsed(TEMPLATE.read_text(encoding="utf-8"))
    assert {parameter for parameter, _ in BY_PARAMETER.values()} <= document["Parameters"].keys()
    made = {name for name, body in document["Resources"].items() if body["Type"] == "AWS::Serverless::Function"}
    assert made == FUNCTIONS


def test_a_report_is_read_by_file() -> None:
    found = {"check_id": "CKV_AWS_27", "file_path": "/hardened.json", "resource": "AWS::SQS::Queue.LateQueue"}
    assert failures({"results": {"failed_checks": [found]}})["hardened"] == [("CKV_AWS_27", "LateQueue")]
