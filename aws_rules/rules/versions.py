"""Versions of functions: the live version is what the template says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.stacks import Stack, references
from aws_rules.updates import Update

# Properties of the function itself, not of a version of it.
_NOT_FROZEN: Final = frozenset({"CodeSigningConfigArn", "RecursiveLoop", "ReservedConcurrentExecutions", "Tags"})


def live_versions(stack: Stack) -> Iterator[tuple[str, str]]:
    """Each function that has an alias, and the version that the alias points to."""
    for alias in stack.of_type("AWS::Lambda::Alias"):
        function = stack.referred(alias.properties["FunctionName"], "AWS::Lambda::Function")
        version = stack.referred(alias.properties["FunctionVersion"], "AWS::Lambda::Version")
        if function and version:
            yield function.logical_id, version.logical_id


def _changes(update: Update, function: str) -> bool:
    frozen = update.after.resources[function].properties.keys() - _NOT_FROZEN
    return function not in update.renewed and update.differs(function, frozenset(frozen))


@rule("a-change-publishes-a-version", "https://github.com/aws/serverless-application-model/issues/3820")
def a_change_publishes_a_version(case: Case) -> Iterator[Broken]:
    """Each change of a function (a parameter's value, a resource that it is told of, code, layer) publishes a version.

    A version keeps the configuration that it was published with, and the alias that triggers call leads to a version.
    """
    for update in case.updates:
        for function, version in live_versions(update.after):
            if _changes(update, function) and version not in update.renewed:
                changed = sorted(
                    path
                    for path in update.after.resources[function].properties
                    if update.differs(function, frozenset({path}))
                )
                message = f"{update.what}: changes {', '.join(changed)}, and the live version keeps what was"
                yield Broken(function, "VersionDescription", message)


@rule("a-version-has-a-change", "https://github.com/serverless/serverless/issues/7822")
def a_version_has_a_change(case: Case) -> Iterator[Broken]:
    """No version is due for a function that did not change: Lambda publishes none, and the update fails."""
    for update in case.updates:
        for function, version in live_versions(update.after):
            if version in update.renewed and function not in update.renewed and not _changes(update, function):
                yield Broken(function, "VersionDescription", f"{update.what}: a version of an unchanged function")


@rule("triggers-call-the-alias", "https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html")
def triggers_call_the_alias(case: Case) -> Iterator[Broken]:
    """Everything that invokes a function with an alias uses the alias, permissions included."""
    stack = case.stack
    functions = dict(live_versions(stack))
    for resource in stack.resources.values():
        places = {
            "AWS::ApiGatewayV2::Integration": ("IntegrationUri",),
            "AWS::Events::Rule": ("Targets",),
            "AWS::Lambda::EventSourceMapping": ("FunctionName",),
            "AWS::Lambda::Permission": ("FunctionName",),
            "AWS::Lambda::EventInvokeConfig": ("FunctionName",),
        }.get(resource.type, ())
        if resource.type == "AWS::Lambda::EventInvokeConfig" and "Qualifier" in resource.properties:
            continue
        for place in places:
            for name, _ in references(resource.properties.get(place)):
                if name in functions:
                    yield Broken(resource.logical_id, place, f"calls {name} itself, not its alias")
