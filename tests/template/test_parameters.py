"""The parameters and outputs of a deployment."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from operate.verify.quotas import REQUESTS_PER_SECOND
from tests.cloudformation import ROOT, resources, template

PARAMETERS: dict[str, dict[str, Any]] = template()["Parameters"]
DEFAULTS = {
    "EventSchemas": "false",
    "DisableExecuteApiEndpoint": "false",
    "CloudFront": "false",
    "SnapStart": "none",
    "RejectionMode": "frame",
    "MaxConnectionsPerUser": 20,
    "MaxConnectionsPolicy": "evict",
    "MaxTokenSeconds": 2_592_000,
    "MessageRate": 10,
    "MessageBurst": 20,
    "UserMessageRate": 40,
    "CountOneFrameIn": 6,
    "RefusalRate": 2,
    "RefusalBurst": 100,
    "AudienceShards": 1,
    "FeedRole": "listener",
    "GracePeriodSeconds": 10,
    "LeaseSeconds": 90,
    "CallLeaseSeconds": 14_400,
    "PresenceLatenessSeconds": 10,
    "PresenceBatchingWindowSeconds": 0,
    "HistorySeconds": 86_400,
    "PresenceHistorySeconds": 3_600,
    "RequestsPerSecond": "8000",
    "IngestConcurrency": 16,
    "LogRetentionDays": 30,
    "LogLevel": "INFO",
    "Protect": "false",
}
FREE_TEXT = {"TokenIssuer", "TokenAudience"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_described_has_a_default_and_refuses_nonsense(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["Description"].endswith(".")
    assert "Default" in parameter
    if name not in FREE_TEXT:
        assert parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}
    if "AllowedPattern" in parameter:
        assert parameter["ConstraintDescription"] or name == "ApiTag"


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_default_is_allowed(name: str) -> None:
    parameter = PARAMETERS[name]
    default = parameter["Default"]
    assert default in parameter.get("AllowedValues", [default])
    assert re.fullmatch(parameter.get("AllowedPattern", ".*"), str(default))
    if parameter["Type"] == "Number" and "MinValue" in parameter:
        assert parameter["MinValue"] <= default <= parameter["MaxValue"]


def test_the_limits_have_the_documented_defaults() -> None:
    assert {name: PARAMETERS[name]["Default"] for name in DEFAULTS} == DEFAULTS


def test_a_grace_period_may_be_nothing_and_at_most_what_a_queue_can_wait() -> None:
    assert (PARAMETERS["GracePeriodSeconds"]["MinValue"], PARAMETERS["GracePeriodSeconds"]["MaxValue"]) == (0, 900)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("TokenKeys", ["", "/a/b-c_d.e"], ["no-slash", "/with space"]),
        (
            "TokenKeysSecretArn",
            ["", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:keys-AbCdEf"],
            ["/name", "arn:aws:s3:::bucket", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:*,x"],
        ),
        ("DomainName", ["", "ws.example.com"], ["https://example.com", "example", "EXAMPLE.com", "*.example.com"]),
        ("ManagementEndpoint", ["", "http://localhost:8080/_aws/x"], ["localhost", "http://localhost/"]),
        ("BusName", ["", "realtime", "a.b-c_d", "defaults"], ["aws/x", "default", "aws.x"]),
    ],
)
def test_a_pattern_takes_what_is_meant_and_refuses_what_is_not(name: str, good: list[str], bad: list[str]) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert all(re.fullmatch(pattern, text) for text in good)
    assert not any(re.fullmatch(pattern, text) for text in bad)


def test_every_parameter_is_shown_in_one_group() -> None:
    groups = template()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]
    assert sorted(shown) == sorted(PARAMETERS)
    assert all(group["Label"]["default"] for group in groups)


def test_a_stack_without_configured_secrets_makes_its_own() -> None:
    secret = template()["Resources"]["TokenKeysSecret"]
    assert secret["Condition"] == "MakesTokenKeys"
    made = secret["Properties"]["GenerateSecretString"]
    assert made["SecretStringTemplate"] == "{}"
    assert made["PasswordLength"] >= 32
    chosen = [{"Condition": f"Has{each}"} for each in ("TokenKeysParameter", "TokenKeysSecret", "Jwks")]
    assert template()["Conditions"]["MakesTokenKeys"] == {"Fn::Not": [{"Fn::Or": chosen}]}
    assert secret["DeletionPolicy"] == "RetainExceptOnCreate"  # else another value of TokenKeys would delete it


def test_there_is_a_division_of_each_number_of_requests_and_it_is_of_strings_as_an_environment_needs() -> None:
    for name in ("Shares", "SharesMostlyLive", "SharesMostlyPosts"):
        shares = template()["Mappings"][name]
        assert [*shares] == PARAMETERS["RequestsPerSecond"]["AllowedValues"]
        assert tuple(map(int, shares)) == REQUESTS_PER_SECOND
        assert all(isinstance(value, str) for share in shares.values() for value in share.values())


def test_all_functions_that_post_share_one_budget_and_may_claim_from_it() -> None:
    divisions = ("SharesMostlyPosts", "Shares")
    budgets = [{"Fn::FindInMap": [name, {"Ref": "RequestsPerSecond"}, "Posts"]} for name in divisions]
    budget = {"Fn::If": ["PostsHaveMost", *budgets]}
    functions = resources("AWS::Serverless::Function")
    posting = {name: body for name, body in functions.items() if "MANAGEMENT_ENDPOINT" in variables(body)}
    assert len(posting) >= 5
    for name, body in posting.items():
        assert variables(body)["POSTS_PER_SECOND"] == budget, name
        assert variables(body)["EVENTS_TABLE"] == {"Ref": "EventsTable"}, name
    reaches = {name: variables(body).get("REACH") for name, body in posting.items()}
    assert reaches["BroadcastFunction"] == "narrow"
    assert reaches["BroadcastWideFunction"] == "wide"


def variables(function: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = function["Environment"]["Variables"]
    return found


def test_outputs_have_all_that_backends_and_operators_need() -> None:
    outputs = template()["Outputs"]
    tables = {f"{name}TableName" for name in ("Connections", "Users", "Events")}
    assert {"WebSocketUrl", "ManagementUrl", "ApiId", "BusName", "BusArn", "TokenKeys"} | tables <= outputs.keys()
    for kind, suffix in (("AWS::SQS::Queue", "Url"), ("AWS::Serverless::Function", "Name")):
        resources = {name for name, body in template()["Resources"].items() if body["Type"] == kind}
        assert {f"{name}{suffix}" for name in resources} <= outputs.keys()
    assert all(output["Description"] for output in outputs.values())


@pytest.mark.parametrize("environment", ["default", "local", "prod"])
def test_samconfig_gives_only_parameters_that_exist(environment: str) -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    overrides = config[environment]["deploy"]["parameters"].get("parameter_overrides", "")
    assert {pair.partition("=")[0] for pair in overrides.split()} <= PARAMETERS.keys()


@pytest.mark.parametrize("environment", ["default", "local", "prod"])
def test_no_environment_drops_the_metrics_and_the_lines_that_the_runbook_reads(environment: str) -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    overrides = config[environment]["deploy"]["parameters"].get("parameter_overrides", "")
    given = dict(pair.split("=", 1) for pair in overrides.split())
    assert given.get("LogLevel", "INFO") in {"DEBUG", "INFO"}
    assert given.get("Metrics", "true") == "true"


def test_the_contents_at_the_top_name_every_part_in_order() -> None:
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    parts = re.findall(r"^  # ---- (.+?) -+$", text, re.MULTILINE)
    contents = text[text.index("# Contents") : text.index("\nMetadata:")]
    assert [line[6:] for line in re.findall(r"^#     \S[^\n]*?(?=   )", contents, re.MULTILINE)] == parts
    assert re.findall(r"^#   (\w+)", contents, re.MULTILINE) == [*template()][4:]  # after the format and Metadata
