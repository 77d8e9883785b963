"""Quotas and lengths that CloudFormation's schemas do not contain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import references

_DOCS = "https://docs.aws.amazon.com/"
# Most characters of a property, where the API document has a bound and CloudFormation's schema has none.
_LENGTHS: Final = {
    ("AWS::ApiGatewayV2::Api", "Name"): 128,
    ("AWS::ApiGatewayV2::Api", "Description"): 1024,
    ("AWS::ApiGatewayV2::DomainName", "DomainName"): 253,
    ("AWS::CloudFront::Distribution", "DistributionConfig.Comment"): 128,
    ("AWS::CloudFront::Function", "FunctionConfig.Comment"): 128,
    ("AWS::DynamoDB::Table", "TableName"): 255,
    ("AWS::Events::EventBus", "Description"): 512,
    ("AWS::Events::Rule", "Name"): 64,
    ("AWS::Events::Rule", "Description"): 512,
    ("AWS::Lambda::Function", "Description"): 256,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::Lambda::Alias", "Description"): 256,
    ("AWS::SecretsManager::Secret", "Name"): 512,
    ("AWS::SecretsManager::Secret", "Description"): 2048,
    ("AWS::SQS::Queue", "QueueName"): 80,
}


def _at(properties: Any, path: str) -> Any:
    for name in path.split("."):
        properties = properties.get(name, {}) if isinstance(properties, dict) else {}
    return properties


@rule("texts-are-short-enough", _DOCS + "cloudfront/latest/APIReference/API_DistributionConfig.html")
def texts_are_short_enough(case: Case) -> Iterator[Broken]:
    """Names and descriptions are no longer than the services' API documents allow, where no schema says so."""
    for resource in case.stack.resources.values():
        for (kind, path), most in _LENGTHS.items():
            text = case.stack.concrete(_at(resource.properties, path)) if resource.type == kind else ""
            if isinstance(text, str) and len(text) > most:
                yield Broken(resource.logical_id, path, f"has {len(text)} characters, of {most} at most")


@rule("environment-of-4-kb", _DOCS + "lambda/latest/dg/gettingstarted-limits.html")
def environment_of_4_kb(case: Case) -> Iterator[Broken]:
    """All environment variables of a function, names and values, have 4 KB at most."""
    for function in case.stack.of_type("AWS::Lambda::Function"):
        variables = case.stack.concrete(function.properties.get("Environment", {}).get("Variables", {}))
        size = len(case.stack.compact(variables).encode())
        if size > 4096:
            yield Broken(function.logical_id, "Environment", f"has {size} bytes, of 4096 at most")


@rule("policies-of-a-role", _DOCS + "IAM/latest/UserGuide/reference_iam-quotas.html")
def policies_of_a_role(case: Case) -> Iterator[Broken]:
    """All inline policies of a role have 10,240 characters at most, without white space; its trust policy has 2,048."""
    for role in case.stack.of_type("AWS::IAM::Role"):
        size = sum(len(case.stack.compact(policy["PolicyDocument"])) for policy in role.properties.get("Policies", []))
        if size > 10_240:
            yield Broken(role.logical_id, "Policies", f"have {size} characters, of 10240 at most")
        if len(case.stack.compact(role.properties["AssumeRolePolicyDocument"])) > 2048:
            yield Broken(role.logical_id, "AssumeRolePolicyDocument", "has more than 2048 characters")


@rule("policy-of-a-queue", _DOCS + "AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html")
def policy_of_a_queue(case: Case) -> Iterator[Broken]:
    """A queue's policy has 8,192 bytes, 20 statements and 10 conditions at most."""
    for policy in case.stack.of_type("AWS::SQS::QueuePolicy"):
        document = policy.properties["PolicyDocument"]
        if len(case.stack.compact(document)) > 8192 or len(document["Statement"]) > 20:
            yield Broken(policy.logical_id, "PolicyDocument", "is larger than SQS allows")


@rule(
    "parts-of-an-api",
    _DOCS + "apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html",
)
def parts_of_an_api(case: Case) -> Iterator[Broken]:
    """An API has 10 stages, 300 routes and 300 integrations at most, and a domain 200 mappings."""
    most = {"Stage": 10, "Route": 300, "Integration": 300}
    counts = Counter(
        (api, resource.type.removeprefix("AWS::ApiGatewayV2::"))
        for resource in case.stack.resources.values()
        if resource.type.startswith("AWS::ApiGatewayV2::")
        for api, _ in references(resource.properties.get("ApiId"))
    )
    for (api, part), count in counts.items():
        if count > most.get(part, 200):
            yield Broken(api, part, f"are {count}, of {most.get(part, 200)} at most")


@rule("indexes-of-a-table", _DOCS + "amazondynamodb/latest/developerguide/ServiceQuotas.html")
def indexes_of_a_table(case: Case) -> Iterator[Broken]:
    """A table has 20 global indexes at most, which project 100 attributes together, and no attribute without a key."""
    for table in case.stack.of_type("AWS::DynamoDB::Table"):
        indexes = table.properties.get("GlobalSecondaryIndexes", [])
        projected = sum(len(each["Projection"].get("NonKeyAttributes", [])) for each in indexes)
        if len(indexes) > 20 or projected > 100:
            yield Broken(table.logical_id, "GlobalSecondaryIndexes", f"{len(indexes)} project {projected} attributes")
        keys = {key["AttributeName"] for each in [table.properties, *indexes] for key in each["KeySchema"]}
        if keys != {each["AttributeName"] for each in table.properties["AttributeDefinitions"]}:
            yield Broken(table.logical_id, "AttributeDefinitions", "are not those of the keys")
        for index in indexes:
            doubled = keys_of(table.properties, index) & {*index["Projection"].get("NonKeyAttributes", [])}
            if doubled:
                yield Broken(
                    table.logical_id, index["IndexName"], f"projects the keys {sorted(doubled)}, which it has anyway"
                )


def keys_of(*parts: Any) -> set[str]:
    """The attributes that are keys of a table or of an index."""
    return {key["AttributeName"] for part in parts for key in part["KeySchema"]}


@rule("code-at-the-edge-is-small", _DOCS + "AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html")
def code_at_the_edge_is_small(case: Case) -> Iterator[Broken]:
    """A CloudFront function has 10 KB at most."""
    for function in case.stack.of_type("AWS::CloudFront::Function"):
        if len(str(function.properties["FunctionCode"]).encode()) > 10_240:
            yield Broken(function.logical_id, "FunctionCode", "has more than 10 KB")
