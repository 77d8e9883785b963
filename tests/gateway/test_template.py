"""Reading a template, and working out its intrinsic functions for a deployed stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from samsocket.errors import TemplateError, UnresolvedError
from samsocket.resolver import Resolver
from samsocket.template import Stack, Template

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """
Parameters:
  Tag: {Type: String, Default: prod}
  Names: {Type: CommaDelimitedList, Default: "a, b"}
Conditions:
  IsProd: !Equals [!Ref Tag, prod]
  IsLocal: !Not [!Condition IsProd]
  Both: !And [!Condition IsProd, !Condition IsLocal]
  Either: !Or [!Condition IsProd, !Condition IsLocal]
Mappings:
  Limits: {prod: {size: 7}}
Resources:
  Function: {Type: "AWS::Serverless::Function", Properties: {AutoPublishAlias: live}}
  Queue: {Type: "AWS::SQS::Queue", Condition: IsProd}
"""

STACK = Stack(
    name="stack",
    region="eu-west-1",
    account="123456789012",
    parameters={"Tag": "prod"},
    physical={
        "Function": "stack-Function-1",
        "FunctionAliaslive": "arn:aws:lambda:eu-west-1:123456789012:function:stack-Function-1:live",
        "Api": "abc123",
        "WsprodStage": "prod",
    },
    types={
        "Function": "AWS::Lambda::Function",
        "FunctionAliaslive": "AWS::Lambda::Alias",
        "Api": "AWS::ApiGatewayV2::Api",
        "WsprodStage": "AWS::ApiGatewayV2::Stage",
    },
)


@pytest.fixture
def template(tmp_path: Path) -> Template:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)
    return Template.read(path)


@pytest.fixture
def resolver(template: Template) -> Resolver:
    return Resolver(template, STACK)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ({"Ref": "Tag"}, "prod"),
        ({"Ref": "Names"}, ["a", "b"]),
        ({"Ref": "Function"}, "stack-Function-1"),
        ({"Ref": "AWS::Region"}, "eu-west-1"),
        ({"Ref": "AWS::NoValue"}, None),
        ({"Ref": "Function.Alias"}, "arn:aws:lambda:eu-west-1:123456789012:function:stack-Function-1:live"),
        ({"Ref": "Ws.Stage"}, "prod"),
        ({"Fn::GetAtt": ["Function", "Arn"]}, "arn:aws:lambda:eu-west-1:123456789012:function:stack-Function-1"),
        ({"Fn::GetAtt": "Api.ApiId"}, "abc123"),
        (
            {"Fn::Sub": "${AWS::Partition}/${Tag}/${Function.Alias}/${!Literal}"},
            f"aws/prod/{STACK.physical['FunctionAliaslive']}/${{Literal}}",
        ),
        ({"Fn::Sub": ["${x}-${Tag}", {"x": {"Ref": "Api"}}]}, "abc123-prod"),
        ({"Fn::Join": ["/", ["integrations", {"Ref": "Api"}]]}, "integrations/abc123"),
        ({"Fn::Select": [1, {"Fn::Split": [",", "a,b,c"]}]}, "b"),
        ({"Fn::If": ["IsProd", "yes", "no"]}, "yes"),
        ({"Fn::If": ["IsLocal", "yes", {"Ref": "Tag"}]}, "prod"),
        ({"Fn::FindInMap": ["Limits", {"Ref": "Tag"}, "size"]}, 7),
        ({"a": [{"Ref": "Tag"}]}, {"a": ["prod"]}),
    ],
)
def test_an_intrinsic_function_has_its_value_in_the_deployed_stack(
    resolver: Resolver, expression: Any, value: Any
) -> None:
    assert resolver.resolve(expression) == value


@pytest.mark.parametrize(
    ("condition", "holds"), [("IsProd", True), ("IsLocal", False), ("Both", False), ("Either", True), (None, True)]
)
def test_conditions_are_worked_out_with_the_deployed_parameters(
    resolver: Resolver, condition: str | None, holds: bool
) -> None:
    assert resolver.holds(condition) is holds


@pytest.mark.parametrize(
    "expression",
    [
        {"Ref": "Nobody"},
        {"Ref": "Nobody.Alias"},
        {"Fn::GetAtt": ["Api", "Url"]},
        {"Fn::ImportValue": "x"},
        {"Fn::FindInMap": ["Limits", "dev", "size"]},
        {"Fn::If": ["Nobody", 1, 2]},
        {"Fn::Sub": "${Nobody}"},
    ],
)
def test_an_unknowable_value_is_an_error_that_names_the_expression(resolver: Resolver, expression: Any) -> None:
    with pytest.raises(UnresolvedError, match="cannot resolve"):
        resolver.resolve(expression)


@pytest.mark.parametrize(
    "malformed",
    [{"Fn::Select": [5, ["a"]]}, {"Fn::GetAtt": "Api"}, {"Fn::Sub": 5}, {"Fn::Join": "x"}, {"Fn::If": ["IsProd"]}],
)
def test_an_intrinsic_function_that_is_malformed_is_an_unknowable_value(resolver: Resolver, malformed: Any) -> None:
    with pytest.raises(UnresolvedError, match=next(iter(malformed))):
        resolver.resolve(malformed)


def test_short_forms_are_read_as_long_ones(template: Template) -> None:
    assert template.conditions["IsLocal"] == {"Fn::Not": [{"Condition": "IsProd"}]}


@pytest.mark.parametrize("text", ["", "- a", "Resources: 1", "Parameters: {}", "a: [", "\t"])
def test_a_file_that_is_no_template_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(text)
    with pytest.raises(TemplateError) as caught:
        Template.read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"cannot read .*nowhere\.yaml"):
        Template.read(tmp_path / "nowhere.yaml")
