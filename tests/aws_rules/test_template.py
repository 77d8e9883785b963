"""template.yaml breaks no rule of AWS's with any set of parameters."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from aws_rules.documents import TEMPLATE, packaged, parsed, translated
from aws_rules.judge import by_linter, by_rules
from aws_rules.parameters import CLOUDFRONT, REGION, SECRET, ParameterSet, longest, refused, sets
from aws_rules.stacks import Stack
from local.stack import EmbeddedStack, Options, Tools
from operate.state import StateFolder

DOCUMENT = parsed(TEMPLATE.read_text(encoding="utf-8"))
SETS = sets(DOCUMENT)


@pytest.mark.parametrize("chosen", SETS, ids=lambda chosen: chosen.name)
def test_no_rule_is_broken(chosen: ParameterSet) -> None:
    assert [str(finding) for finding in by_rules(DOCUMENT, chosen)] == []


@pytest.mark.parametrize("chosen", SETS, ids=lambda chosen: chosen.name)
def test_cfn_lint_finds_nothing(chosen: ParameterSet) -> None:
    assert [str(finding) for finding in by_linter(DOCUMENT, chosen)] == []


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"TokenKeys": "/a", **SECRET}, "OneSourceOfTokenKeys"),
        ({"DomainName": "ws.example.com"}, "DomainNeedsCertificate"),
        ({"DisableExecuteApiEndpoint": "true"}, "OnlyADomainIsLeftWithoutExecuteApi"),
        ({**CLOUDFRONT, "CloudFront": "false"}, "CloudFrontDomainNeedsCertificate"),
        ({"CloudFront": "true", "CloudFrontDomainName": "live.example.com"}, "CloudFrontDomainNeedsCertificate"),
    ],
)
def test_parameters_that_cannot_work_are_refused_before_anything_is_created(given: dict[str, str], rule: str) -> None:
    (finding,) = by_rules(DOCUMENT, ParameterSet("refused", given), "assertions-hold")
    assert finding.where.resource == rule


def test_every_resource_and_every_branch_is_judged_in_one_set_at_least() -> None:
    stacks = [Stack(DOCUMENT, chosen) for chosen in SETS]
    made = {_without_hash(name) for stack in stacks for name in stack.resources}
    # SAM makes CodeDeploy's resources only where traffic is shifted, so no single set has them all.
    assert made == {_without_hash(name) for stack in stacks for name in stack.template["Resources"]}
    thorough = [stack for stack in stacks if stack.parameters.thorough]
    for condition in DOCUMENT["Conditions"]:
        assert {stack.holds(condition) for stack in thorough} == {True, False}, condition


def _without_hash(name: str) -> str:
    """A logical id without the hash that SAM appends for versions and layers."""
    return re.sub("[0-9a-f]{10}$", "", name)


def test_what_sam_makes_depends_on_the_values_that_it_reads_and_on_no_others() -> None:
    template, values = packaged(DOCUMENT, "1", "1"), SETS[0].values(DOCUMENT)
    made, read = translated(template, values, REGION)
    others = {name: f"{value}1" for name, value in values.items() if name not in read}
    assert others
    assert translated(template, values | others, REGION) == (made, read)
    preferred = {"DeploymentPreference": "Canary10Percent10Minutes"}
    assert preferred.keys() <= read
    assert translated(template, values | preferred, REGION)[0] != made


def test_every_parameter_has_another_value_than_its_default_in_one_set_at_least() -> None:
    given = {
        name
        for chosen in SETS
        for name, value in chosen.given.items()
        if value != str(DOCUMENT["Parameters"][name]["Default"])
    }
    assert given == DOCUMENT["Parameters"].keys()


def test_the_longest_values_are_as_long_as_the_parameters_allow() -> None:
    values = longest(DOCUMENT)
    assert list(refused(DOCUMENT, values)) == []
    for name, body in DOCUMENT["Parameters"].items():
        if "MaxLength" in body and values[name]:
            assert len(values[name]) == body["MaxLength"], name


def test_one_set_is_what_the_embedded_stack_is_deployed_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tools, "installed", lambda: None)
    monkeypatch.setattr("local.stack.free_port", lambda port, option: nullcontext(8080))
    deployed = EmbeddedStack(StateFolder(tmp_path), Options(), print)._parameters
    assert deployed == next(chosen.given for chosen in SETS if chosen.emulated)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("LogLevel", "WARNING", "is none of"),
        ("BusName", "a/b", "does not match"),
        ("LeaseSeconds", "5", "is not within 10 and 7200"),
        ("TokenIssuer", "x" * 257, "has 257 characters"),
        ("UrlPrefix", "ws/", "is no parameter"),
    ],
)
def test_a_value_that_cloudformation_refuses_is_reported(name: str, value: str, why: str) -> None:
    ((told, reason),) = refused(DOCUMENT, {name: value})
    assert told == name
    assert why in reason
