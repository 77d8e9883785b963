"""Nested stacks in files become part of the stack around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from samsocket.errors import TemplateError
from samsocket.project.expansion import Project, read_project

if TYPE_CHECKING:
    from pathlib import Path

OUTER = """
Transform: AWS::Serverless-2016-10-31
Parameters: {Room: {Type: String, Default: lobby}}
Conditions: {Wanted: !Equals [!Ref Room, lobby]}
Resources:
  Inner:
    Type: AWS::Serverless::Application
    Condition: Wanted
    DependsOn: Other
    Properties: {Location: inner/inner.yaml, Parameters: {Name: !Ref Room, Sizes: "1,2"}}
  Other: {Type: AWS::SNS::Topic}
  After: {Type: AWS::SNS::Topic, DependsOn: [Inner]}
  Shows:
    Type: AWS::SSM::Parameter
    Properties:
      Type: String
      Name: !GetAtt Inner.Outputs.Queue
      Value: !Sub ["${Inner.Outputs.Queue} in ${Where} ${!Kept}", {Where: !GetAtt Inner.Outputs.Queue}]
      Description: !Ref Inner
"""
INNER = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Name: {Type: String}
  Sizes: {Type: CommaDelimitedList}
  Kind: {Type: String, Default: plain}
Conditions: {Plain: !Equals [!Ref Kind, plain]}
Mappings: {Delays: {plain: {Seconds: 5}}}
Globals: {Function: {Runtime: python3.12, Handler: app.handler}}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Condition: Plain
    Properties:
      QueueName: !Sub "${AWS::StackName}-${Name}-${AWS::Region}"
      DelaySeconds: !FindInMap [Delays, !Ref Kind, Seconds]
      VisibilityTimeout: !If [Plain, !Select [1, !Ref Sizes], 9]
      Tags: [{Key: of, Value: !GetAtt Dead.Arn}, {Key: stack, Value: !Ref AWS::StackName}]
  Dead: {Type: AWS::SQS::Queue}
  Work:
    Type: AWS::Serverless::Function
    DependsOn: Dead
    Metadata: {BuildMethod: makefile}
    Properties: {CodeUri: code/, Environment: {Variables: {QUEUE: !Ref Queue}}}
Outputs:
  Queue: {Value: !Ref Queue}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return written(tmp_path, OUTER, INNER)


def written(folder: Path, outer: str, inner: str) -> Project:
    (folder / "inner").mkdir()
    (folder / "template.yaml").write_text(outer)
    (folder / "inner/inner.yaml").write_text(inner)
    return read_project(folder / "template.yaml", {}, "us-east-1")


def resource(project: Project, logical_id: str) -> Any:
    return project.expanded["Resources"][logical_id]


def test_its_resources_get_the_name_of_the_stack_and_its_parameters_their_values(project: Project) -> None:
    assert "Inner" not in project.expanded["Resources"]
    assert resource(project, "InnerQueue")["Properties"] == {
        "QueueName": {
            "Fn::Sub": ["${AWS::StackName}-Inner-${InnerName}-${AWS::Region}", {"InnerName": {"Ref": "Room"}}]
        },
        "DelaySeconds": {"Fn::FindInMap": ["InnerDelays", "plain", "Seconds"]},
        "VisibilityTimeout": {"Fn::If": ["InnerPlain", {"Fn::Select": [1, {"Fn::Split": [",", "1,2"]}]}, 9]},
        "Tags": [
            {"Key": "of", "Value": {"Fn::GetAtt": ["InnerDead", "Arn"]}},
            {"Key": "stack", "Value": {"Fn::Sub": "${AWS::StackName}-Inner"}},
        ],
    }
    assert project.expanded["Conditions"]["InnerPlain"] == {"Fn::Equals": ["plain", "plain"]}
    assert project.expanded["Mappings"] == {"InnerDelays": {"plain": {"Seconds": 5}}}


def test_its_outputs_stand_where_they_are_asked_for(project: Project) -> None:
    queue = {"Ref": "InnerQueue"}
    properties = resource(project, "Shows")["Properties"]
    assert properties["Name"] == queue
    assert properties["Description"] == "Inner"
    assert properties["Value"] == {
        "Fn::Sub": ["${InnerOutputsQueue} in ${Where} ${!Kept}", {"Where": queue, "InnerOutputsQueue": queue}]
    }


def test_its_condition_and_its_order_hold_for_its_resources(project: Project) -> None:
    assert resource(project, "InnerDead")["Condition"] == "Wanted"
    both = resource(project, "InnerQueue")["Condition"]
    assert project.expanded["Conditions"][both] == {"Fn::And": [{"Condition": "Wanted"}, {"Condition": "InnerPlain"}]}
    assert resource(project, "InnerWork")["DependsOn"] == ["InnerDead", "Other"]
    assert {"InnerQueue", "InnerDead", "InnerWork"} <= set(resource(project, "After")["DependsOn"])


def test_its_functions_are_built_from_its_folder_by_its_globals(project: Project, tmp_path: Path) -> None:
    assert project.code["InnerWork"] == tmp_path / "inner/code"
    assert project.metadata("InnerWork") == {"BuildMethod": "makefile"}
    assert resource(project, "InnerWork")["Properties"]["Runtime"] == "python3.12"


def test_all_templates_are_watched(project: Project, tmp_path: Path) -> None:
    assert project.templates == {tmp_path / "template.yaml", tmp_path / "inner/inner.yaml"}


@pytest.mark.parametrize(
    "place",
    ["https://s3.amazonaws.com/b/inner.yaml", "not-there.yaml", "{ApplicationId: arn:x, SemanticVersion: 1.0.0}"],
)
def test_a_stack_whose_template_is_elsewhere_stays_and_nobody_is_asked_for_it(tmp_path: Path, place: str) -> None:
    outer = OUTER.replace("Location: inner/inner.yaml", f"Location: {place}")
    assert resource(written(tmp_path, outer, INNER), "Inner")["Type"] == "AWS::CloudFormation::Stack"


def test_a_stack_in_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="is nested in itself"):
        written(
            tmp_path,
            OUTER,
            INNER.replace(
                "  Dead:", "  Again: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: inner.yaml}}\n  Dead:"
            ),
        )
