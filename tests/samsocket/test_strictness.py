"""`--strict` refuses what AWS refuses and the emulator takes: one test for each refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from samsocket.__main__ import main
from samsocket.project.expansion import read_project
from samsocket.project.strictness import findings
from tests.cloudformation import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROJECTS = ROOT / "tests/samsocket/projects"
TEMPLATE = """
Parameters: {Size: {Type: Number, Default: 10}}
Resources:
  Api:
    Type: AWS::ApiGatewayV2::Api
    Properties: {Name: chat, ProtocolType: WEBSOCKET, RouteSelectionExpression: $request.body.action}
  Connect: {Type: AWS::ApiGatewayV2::Route, Properties: {ApiId: {Ref: Api}, RouteKey: $connect}}
  Hello: {Type: AWS::ApiGatewayV2::Route, Properties: {ApiId: {Ref: Api}, RouteKey: hello}}
  Mock: {Type: AWS::ApiGatewayV2::Integration, Properties: {ApiId: {Ref: Api}, IntegrationType: MOCK}}
  Deployment: {Type: AWS::ApiGatewayV2::Deployment, DependsOn: [Connect], Properties: {ApiId: {Ref: Api}}}
  Stage:
    Type: AWS::ApiGatewayV2::Stage
    Properties: {ApiId: {Ref: Api}, StageName: live, DeploymentId: {Ref: Deployment}}
  Work:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: {"Fn::Sub": "${AWS::StackName}-work"}
      Environment: {Variables: {QUEUE: {Ref: Jobs}}}
      Code: {ZipFile: ""}
  Jobs: {Type: AWS::SQS::Queue, Properties: {QueueName: jobs}}
  Others: {Type: AWS::SQS::Queue, Properties: {QueueName: others}}
  Table: {Type: AWS::DynamoDB::Table, Properties: {TableName: rooms}}
  JobsToWork:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: {"Fn::GetAtt": [Jobs, Arn]}
      FunctionName: {Ref: Work}
      BatchSize: {Ref: Size}
  TableToWork:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: {"Fn::GetAtt": [Table, StreamArn]}
      FunctionName: {Ref: Work}
      StartingPosition: LATEST
  Rule: {Type: AWS::Events::Rule, Properties: {Targets: [{Id: a, Arn: {"Fn::GetAtt": [Jobs, Arn]}}]}}
"""

Template = dict[str, Any]


def found(template: Template, folder: Path) -> list[str]:
    path = folder / "template.yaml"
    path.write_text(yaml.safe_dump(template, sort_keys=False), encoding="utf-8")
    return [str(finding) for finding in findings(read_project(path, {}, "us-east-1"), {}, "us-east-1", "samsocket")]


def resource(template: Template, logical_id: str) -> Template:
    return template["Resources"][logical_id]["Properties"]  # type: ignore[no-any-return]


def with_properties(logical_id: str, **changes: Any) -> Callable[[Template], None]:
    return lambda template: resource(template, logical_id).update(changes)


def without(logical_id: str, name: str) -> Callable[[Template], None]:
    def change(template: Template) -> None:
        del resource(template, logical_id)[name]

    return change


def with_copies(logical_id: str, count: int, name: str) -> Callable[[Template], None]:
    """Copy a resource, each with another value of the property that tells them apart."""

    def change(template: Template) -> None:
        original = template["Resources"][logical_id]
        for number in range(count):
            properties = {**original["Properties"], name: f"copy{number}"}
            template["Resources"][f"{logical_id}{number}"] = {**original, "Properties": properties}

    return change


def with_resource(logical_id: str, **body: Any) -> Callable[[Template], None]:
    return lambda template: template["Resources"].update({logical_id: body})


def with_parameters(count: int) -> Callable[[Template], None]:
    added = {f"P{number}": {"Type": "String", "Default": ""} for number in range(count)}
    return lambda template: template["Parameters"].update(added)


def with_a_second_mapping(template: Template) -> None:
    properties = dict(resource(template, "JobsToWork"))
    properties["FunctionName"] = {"Fn::GetAtt": ["Work", "Arn"]}
    template["Resources"]["Again"] = {"Type": "AWS::Lambda::EventSourceMapping", "Properties": properties}


def with_a_fifo_queue(template: Template) -> None:
    resource(template, "Jobs").update(QueueName="jobs.fifo", FifoQueue=True)
    resource(template, "JobsToWork").update(MaximumBatchingWindowInSeconds=5)


def without_a_route_before_the_deployment(template: Template) -> None:
    template["Resources"]["Deployment"]["DependsOn"] = ["Jobs"]


def test_nothing_is_found_in_what_aws_takes(tmp_path: Path) -> None:
    assert found(yaml.safe_load(TEMPLATE), tmp_path) == []


@pytest.mark.parametrize("folder", sorted(path.name for path in PROJECTS.iterdir() if path.is_dir()))
def test_nothing_is_found_in_projects_that_run_on_aws(folder: str) -> None:
    given = {"Origin": "https://example.com", "JwtSecret": "secret"}
    (path,) = (PROJECTS / folder).glob("template.y*ml")
    project = read_project(path, given, "us-east-1")
    assert [str(finding) for finding in findings(project, given, "us-east-1", "samsocket")] == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_copies("Table", 500, "TableName"), "Resources: are 513, of 500 at most"),
        (with_parameters(200), "Parameters: are 201, of 200 at most"),
        (with_properties("Work", Code={"ZipFile": "#" * 1_100_000}), "template: has more than 1 MB"),
        (with_resource("My-Queue", Type="AWS::SQS::Queue"), "My-Queue: a logical id has up to 255 letters"),
        (with_properties("Rule", Description={"Ref": "Nobody"}), "Rule: Nobody is not in the template"),
        (with_properties("Rule", Description={"Fn::Sub": "${Nobody.Arn}"}), "Rule: Nobody is not in the template"),
        (with_properties("Rule", Description={"Fn::GetAtt": ["Nobody", "Arn"]}), "Rule: Nobody is not in the template"),
        (with_properties("Work", FunctionName={"Fn::Sub": "${AWS::StackName}-" + "x" * 60}), "Work: FunctionName"),
        (with_properties("Jobs", QueueName="my jobs"), "Jobs: QueueName 'my jobs' does not match"),
        (with_properties("Table", TableName="t"), "Table: TableName 't' does not match"),
        (with_properties("Stage", StageName="live/1"), "Stage: StageName 'live/1' does not match"),
        (with_properties("Others", QueueName="jobs"), "Others: QueueName 'jobs' is that of Jobs, too"),
        (with_properties("Jobs", FifoQueue=True), "Jobs: 'jobs' lacks .fifo"),
        (with_properties("Jobs", QueueName="jobs.fifo"), "Jobs: 'jobs.fifo' ends in .fifo"),
        (with_copies("Hello", 299, "RouteKey"), "Api: has 301 resources AWS::ApiGatewayV2::Route, of 300 at most"),
        (with_copies("Stage", 10, "StageName"), "Api: has 11 resources AWS::ApiGatewayV2::Stage, of 10 at most"),
        (with_properties("Hello", RouteKey="$connect"), "Hello: RouteKey $connect is that of Connect, too"),
        (
            with_resource(
                "Twin", Type="AWS::ApiGatewayV2::Stage", Properties={"ApiId": {"Ref": "Api"}, "StageName": "live"}
            ),
            "Twin: StageName live is that of Stage, too",
        ),
        (with_properties("Mock", TimeoutInMillis=30_000), "Mock: TimeoutInMillis 30000 is not from 50 to 29000"),
        (without("Api", "RouteSelectionExpression"), "Api: RouteSelectionExpression is missing"),
        (without_a_route_before_the_deployment, "Deployment: depends on no route"),
        (with_properties("Work", Timeout=901), "Work: Timeout 901 is not from 1 to 900"),
        (with_properties("Work", MemorySize=64), "Work: MemorySize 64 is not from 128 to 10240"),
        (with_properties("Work", Layers=["arn"] * 6), "Work: has 6 layers, of 5 at most"),
        (
            with_properties("Work", Environment={"Variables": {"AWS_REGION": "eu-west-1"}}),
            "Work: the variable AWS_REGION is Lambda's own",
        ),
        (with_properties("Work", Environment={"Variables": {"MY-KEY": "x"}}), "Work: the variable 'MY-KEY' is not"),
        (
            with_properties("Work", Environment={"Variables": {"LONG": "x" * 4096}}),
            "Work: its variables have 4107 bytes, of 4096 at most",
        ),
        (with_a_second_mapping, "Again: JobsToWork maps this source to this function already"),
        (with_properties("Work", Timeout=60), "JobsToWork: Jobs hides messages for 30 s, but it may run for 60 s"),
        (with_properties("JobsToWork", BatchSize=11), "JobsToWork: BatchSize 11 needs a MaximumBatchingWindow"),
        (with_a_fifo_queue, "JobsToWork: a FIFO queue has batches of 10 at most, and no batching window"),
        (without("TableToWork", "StartingPosition"), "TableToWork: StartingPosition is missing"),
        (with_properties("Rule", Targets=[{"Id": str(n)} for n in range(6)]), "Rule: has 6 targets, of 5 at most"),
        (with_properties("Rule", Targets=[{"Id": "a"}, {"Id": "a"}]), "Rule: has two targets with the Id a"),
        (
            with_properties("JobsToWork", FilterCriteria={"Filters": [{}] * 6}),
            "JobsToWork: has 6 filters, of 5 at most",
        ),
    ],
)
def test_what_aws_refuses_is_found(change: Callable[[Template], None], problem: str, tmp_path: Path) -> None:
    template = yaml.safe_load(TEMPLATE)
    change(template)
    assert any(line.startswith(problem) for line in found(template, tmp_path)), found(template, tmp_path)


def test_a_resource_that_a_condition_leaves_out_is_not_judged(tmp_path: Path) -> None:
    template = yaml.safe_load(TEMPLATE)
    template["Conditions"] = {"Never": {"Fn::Equals": ["a", "b"]}}
    with_a_second_mapping(template)
    template["Resources"]["Again"]["Condition"] = "Never"
    assert found(template, tmp_path) == []


def test_the_size_of_a_stack_with_nested_ones_is_not_judged(tmp_path: Path) -> None:
    inner: Template = {"Resources": {f"T{n}": {"Type": "AWS::SNS::Topic"} for n in range(490)}}
    (tmp_path / "inner.yaml").write_text(yaml.safe_dump(inner), encoding="utf-8")
    template = yaml.safe_load(TEMPLATE)
    template["Resources"]["Inner"] = {
        "Type": "AWS::CloudFormation::Stack",
        "Properties": {"TemplateURL": "inner.yaml"},
    }
    assert found(template, tmp_path) == []


def test_the_command_ends_with_what_aws_refuses_and_where_that_stands(tmp_path: Path) -> None:
    template = yaml.safe_load(TEMPLATE)
    with_a_second_mapping(template)
    assert found(template, tmp_path)
    result = CliRunner().invoke(main, ["up", "--strict", "--template", str(tmp_path / "template.yaml")])
    assert result.exit_code == 1
    assert "Again: JobsToWork maps this source to this function already (https://" in result.output
