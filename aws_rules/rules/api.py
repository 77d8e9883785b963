"""The WebSocket API: the order of its creation, the functions that it may call, the addresses that lead to it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Final

from aws_rules.parameters import ACCOUNT
from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import Resource, Stack, references, texts

_DOCS = "https://docs.aws.amazon.com/apigateway/latest/developerguide/"
_KIND = "AWS::ApiGatewayV2::"
_PARTS: Final = (
    "Integration",
    "Route",
    "RouteResponse",
    "IntegrationResponse",
    "Model",
    "Authorizer",
    "Deployment",
    "Stage",
    "ApiMapping",
)
_MAPPING_KEY: Final = re.compile(r"[A-Za-z0-9$\-_.+!*'()]+")
_LOGGED: Final = frozenset(
    f"$context.{name}"
    for name in (
        *("requestTime", "requestId", "connectionId", "stage", "routeKey", "eventType", "status"),
        *("integrationErrorMessage", "identity.sourceIp", "identity.userAgent"),
    )
)
_STAGE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def waits_for(stack: Stack) -> dict[str, set[str]]:
    """For each resource, all that CloudFormation makes before it.

    It waits for what is named in DependsOn, and for what a property or the Metadata refers to
    (cloudonaut.io/optional-dependson-with-cloudformation-metadata-to-the-rescue).
    """
    direct = {
        name: {
            other
            for other in [
                *resource.depends_on,
                *(each for each, _ in references([resource.properties, resource.attributes.get("Metadata")])),
            ]
            if other in stack.resources
        }
        for name, resource in stack.resources.items()
    }
    closed: dict[str, set[str]] = {}

    def close(name: str) -> set[str]:
        if name not in closed:
            closed[name] = set()  # cfn-lint finds circles
            closed[name] = direct[name].union(*(close(other) for other in direct[name]))
        return closed[name]

    return {name: close(name) for name in direct}


def parts_of_apis(stack: Stack) -> dict[str, list[Resource]]:
    """The resources that change an API, by the API."""
    parts: dict[str, list[Resource]] = defaultdict(list)
    for resource in stack.resources.values():
        if resource.type in {_KIND + part for part in _PARTS}:
            for api, _ in references(resource.properties.get("ApiId")):
                parts[api].append(resource)
    return parts


@rule("one-change-of-an-api-at-a-time", "https://github.com/hashicorp/terraform-provider-aws/issues/18018")
def one_change_of_an_api_at_a_time(case: Case) -> Iterator[Broken]:
    """What changes one API is made one after another: a change at the same time meets ConflictException."""
    before = waits_for(case.stack)
    for parts in parts_of_apis(case.stack).values():
        ordered = sorted(parts, key=lambda part: len(before[part.logical_id] & {each.logical_id for each in parts}))
        for first, second in pairwise(ordered):
            if first.logical_id not in before[second.logical_id]:
                yield Broken(second.logical_id, "DependsOn", f"may be made at the same time as {first.logical_id}")


@rule("stages-come-last", _DOCS + "websocket-api-develop-routes.html")
def stages_come_last(case: Case) -> Iterator[Broken]:
    """A stage is made after every route and route response, so that it deploys all of them."""
    before = waits_for(case.stack)
    for parts in parts_of_apis(case.stack).values():
        stages = [part for part in parts if part.type == _KIND + "Stage"]
        earlier = [
            part for part in parts if part.type in (_KIND + "Route", _KIND + "RouteResponse", _KIND + "Integration")
        ]
        for stage in stages:
            for part in earlier:
                if part.logical_id not in before[stage.logical_id]:
                    yield Broken(stage.logical_id, "DependsOn", f"may deploy the API without {part.logical_id}")


@rule("a-route-may-call-its-function", "https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway.html")
def a_route_may_call_its_function(case: Case) -> Iterator[Broken]:
    """Each route's integration leads to a function that lets API Gateway call it for that route on every stage."""
    stack = case.stack
    permissions = [stack.concrete(each.properties) for each in stack.of_type("AWS::Lambda::Permission")]
    for route in stack.of_type(_KIND + "Route"):
        integration = stack.referred(route.properties.get("Target"), _KIND + "Integration")
        if integration is None:
            yield Broken(route.logical_id, "Target", "leads to no integration")
            continue
        uri = str(stack.concrete(integration.properties.get("IntegrationUri", "")))
        function = uri.partition("/functions/")[2].removesuffix("/invocations")
        api = stack.concrete(route.properties["ApiId"])
        for stage in stack.of_type(_KIND + "Stage"):
            path = f"{api}/{stack.concrete(stage.properties['StageName'])}/{route.properties['RouteKey']}"
            called = f"arn:aws:execute-api:{stack.region}:{ACCOUNT}:{path}"
            if not any(
                permission["Principal"] == "apigateway.amazonaws.com"
                and permission["FunctionName"] == function
                and fnmatchcase(called, permission.get("SourceArn", "*"))
                for permission in permissions
            ):
                yield Broken(route.logical_id, "Target", f"{called} may not call {function}")


@rule("a-two-way-route-has-a-response", _DOCS + "apigateway-websocket-api-route-response.html")
def a_two_way_route_has_a_response(case: Case) -> Iterator[Broken]:
    """A route that selects a response has one; without it, the function's answer never reaches the client."""
    if case.chosen.emulated:
        return  # no emulator's CloudFormation knows the resource: our gateway reads it from the template
    answered = {
        name
        for each in case.stack.of_type(_KIND + "RouteResponse")
        for name, _ in references(each.properties.get("RouteId"))
    }
    for route in case.stack.of_type(_KIND + "Route"):
        if ("RouteResponseSelectionExpression" in route.properties) != (route.logical_id in answered):
            yield Broken(
                route.logical_id, "RouteResponseSelectionExpression", "comes with a RouteResponse, or without either"
            )


@rule("a-routes-function-ends-in-time", _DOCS + "apigateway-execution-service-websocket-limits-table.html")
def a_routes_function_ends_in_time(case: Case) -> Iterator[Broken]:
    """A function that a route waits for ends before API Gateway gives up on it, after 29 s at most."""
    stack = case.stack
    for integration in stack.of_type(_KIND + "Integration"):
        alias = stack.referred(integration.properties.get("IntegrationUri"), "AWS::Lambda::Alias")
        named = alias.properties["FunctionName"] if alias else integration.properties.get("IntegrationUri")
        function = stack.referred(named, "AWS::Lambda::Function")
        allowed = int(integration.properties.get("TimeoutInMillis", 29_000)) / 1000
        if function and int(function.properties.get("Timeout", 3)) >= allowed:
            yield Broken(function.logical_id, "Timeout", f"is not below {allowed:g} s")


@rule("mapping-keys-have-no-slash", _DOCS + "websocket-api-mappings.html")
def mapping_keys_have_no_slash(case: Case) -> Iterator[Broken]:
    """The mapping keys of a WebSocket API hold letters, digits and $-_.+!*'() alone, each once for a domain."""
    seen: set[tuple[str, str]] = set()
    for mapping in case.stack.of_type(_KIND + "ApiMapping"):
        key = str(case.stack.concrete(mapping.properties.get("ApiMappingKey", "")))
        pair = str(mapping.properties["DomainName"]), key
        if key and not _MAPPING_KEY.fullmatch(key):
            yield Broken(mapping.logical_id, "ApiMappingKey", f"{key!r} holds what WebSocket APIs refuse")
        if pair in seen:
            yield Broken(mapping.logical_id, "ApiMappingKey", f"{key!r} is mapped twice")
        seen.add(pair)


@rule("a-closed-host-is-not-called", "https://github.com/aws/aws-sdk-net/issues/1860")
def a_closed_host_is_not_called(case: Case) -> Iterator[Broken]:
    """With the execute-api endpoint disabled, no function uses that host: it refuses posts, and the domain takes them.

    There the mapping key stands where the stage stood, so each stage is mapped by its own name.
    """
    stack = case.stack
    for api in stack.of_type(_KIND + "Api"):
        if str(api.properties.get("DisableExecuteApiEndpoint", "false")).lower() != "true":
            continue
        host = f"{stack.concrete({'Ref': api.logical_id})}.execute-api."
        told = {name: resource.properties for name, resource in stack.resources.items()} | {"Outputs": stack.outputs}
        for name, value in told.items():
            for place, text in texts(stack.concrete(value)):
                if host in text:
                    yield Broken(name, place, f"names {host}…, which answers 403")
        mappings = stack.of_type(_KIND + "ApiMapping")
        by_stage = {
            str(stack.concrete(each.properties["Stage"])): str(each.properties.get("ApiMappingKey"))
            for each in mappings
        }
        for stage in stack.of_type(_KIND + "Stage"):
            name = str(stage.properties["StageName"])
            if by_stage.get(name) != name:
                yield Broken(stage.logical_id, "StageName", f"{name} is not mapped by its own name")
        domains = {str(each.properties["DomainName"]) for each in stack.of_type(_KIND + "DomainName")}
        for function in stack.of_type("AWS::Lambda::Function"):
            endpoint = function.properties.get("Environment", {}).get("Variables", {}).get("MANAGEMENT_ENDPOINT")
            if endpoint is not None and str(endpoint) not in {f"https://{domain}" for domain in domains}:
                yield Broken(
                    function.logical_id, "Environment.MANAGEMENT_ENDPOINT", f"{endpoint} is no domain of the API's"
                )


@rule("tokens-are-in-no-log", _DOCS + "websocket-api-logging.html")
def tokens_are_in_no_log(case: Case) -> Iterator[Broken]:
    """No stage logs what it gives to functions: execution logs hold query strings, and the tokens in them."""
    for stage in case.stack.of_type(_KIND + "Stage"):
        settings = {"DefaultRouteSettings": stage.properties.get("DefaultRouteSettings", {})} | stage.properties.get(
            "RouteSettings", {}
        )
        for name, each in settings.items():
            if each.get("LoggingLevel", "OFF") != "OFF" or each.get("DataTraceEnabled", False) not in (False, "false"):
                yield Broken(stage.logical_id, name, "switches execution logs on")


@rule(
    "stages-are-named-as-urls-are",
    "https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis-apiid-stages.html",
)
def stages_are_named_as_urls_are(case: Case) -> Iterator[Broken]:
    """A stage's name has letters, digits, hyphens and underscores, at most 128, and exists once."""
    seen: set[str] = set()
    for stage in case.stack.of_type(_KIND + "Stage"):
        name = str(case.stack.concrete(stage.properties["StageName"]))
        if not _STAGE_NAME.fullmatch(name) or name in seen:
            yield Broken(stage.logical_id, "StageName", f"{name!r} is no stage's name, or another's")
        seen.add(name)


@rule("access-logs-hold-no-token", _DOCS + "websocket-api-logging.html")
def access_logs_hold_no_token(case: Case) -> Iterator[Broken]:
    """A line of an access log has no variable that could be a token: no query string, path, header or authorizer."""
    for stage in case.stack.of_type(_KIND + "Stage"):
        line = str(case.stack.resolve(stage.properties.get("AccessLogSettings", {}).get("Format", "")))
        for variable in re.findall(r"\$[\w.]+", line):
            if variable not in _LOGGED:
                yield Broken(stage.logical_id, "AccessLogSettings.Format", f"{variable} may hold what is secret")
