"""How a template is read, and what becomes of it on the emulator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from samsocket.errors import StartError, TemplateError
from samsocket.project import parameters
from samsocket.project.adaptation import INVOKE, adapt
from samsocket.project.expansion import Project, find_template, read_project
from samsocket.project.sources import sources
from samsocket.terminal import Terminal
from samsocket.up import Options, Run

PROJECTS = Path(__file__).parent / "projects"


def project(folder: Path, template: str, **given: str) -> Project:
    """Read a template that is written into a folder."""
    path = folder / "template.yaml"
    path.write_text(f"Transform: AWS::Serverless-2016-10-31\n{template}")
    return read_project(path, given, "us-east-1")


FUNCTION = """
Resources:
  Hello: {Type: AWS::Serverless::Function, Properties: {Handler: app.handler, Runtime: python3.12, CodeUri: code/}}
"""


def test_sam_s_own_translator_expands_the_template() -> None:
    rooms = read_project(PROJECTS / "rooms-python/template.yaml", {}, "us-east-1")
    types = {resource["Type"] for resource in rooms.expanded["Resources"].values()}
    assert {"AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Stage", "AWS::Lambda::EventSourceMapping"} <= types
    assert rooms.code["Echo"] == PROJECTS / "rooms-python/src", "the folder that Globals name"


def test_what_the_emulator_refuses_is_taken_out_with_each_reference_to_it() -> None:
    chat = read_project(PROJECTS / "chat-node/template.yaml", {}, "us-east-1")
    template, removed = adapt(chat.expanded, "http://invoke")
    assert removed == {"Deployment": "AWS::ApiGatewayV2::Deployment"}
    assert template["Resources"]["Stage"]["Properties"] == {
        "StageName": "Prod",
        "ApiId": {"Ref": "ChatWebSocket"},
        "AutoDeploy": True,
    }
    assert template["Outputs"]["Deployed"] == {"Value": "Deployment"}
    assert "Deployment" in chat.expanded["Resources"], "the gateway still reads it"


def test_a_function_becomes_one_that_passes_its_events_on() -> None:
    chat = read_project(PROJECTS / "chat-node/template.yaml", {}, "us-east-1")
    properties = adapt(chat.expanded, "http://invoke")[0]["Resources"]["OnConnect"]["Properties"]
    assert properties["Runtime"] == "python3.11"
    assert properties["Environment"]["Variables"] == {
        "TABLE_NAME": {"Ref": "TableName"},
        "LIMIT": "100",  # CloudFormation makes it text
        INVOKE: "http://invoke/OnConnect",
    }


def test_types_and_resources_that_the_emulator_was_found_to_refuse_are_left_out_too() -> None:
    rooms = read_project(PROJECTS / "rooms-python/template.yaml", {}, "us-east-1")
    template, removed = adapt(rooms.expanded, "http://invoke", ["AWS::Route53::RecordSetGroup", "Jobs"])
    assert removed == {"Zone": "AWS::Route53::RecordSetGroup", "Jobs": "AWS::SQS::Queue"}
    assert template["Resources"]["Later"]["Properties"]["Environment"]["Variables"]["QUEUE_URL"] == "Jobs"


def test_references_in_a_sub_and_in_depends_on_lose_what_is_gone() -> None:
    expanded: dict[str, Any] = {
        "Resources": {
            "Gone": {"Type": "AWS::ApiGatewayV2::Model"},
            "Stays": {
                "Type": "AWS::SQS::Queue",
                "DependsOn": ["Gone"],
                "Properties": {
                    "QueueName": {"Fn::Sub": "${Gone}-${Gone.Arn}-${!Gone}-${AWS::Region}"},
                    "Tags": [{"Key": "k", "Value": {"Fn::GetAtt": ["Gone", "Arn"]}}],
                },
            },
        }
    }
    stays = adapt(expanded, "http://invoke")[0]["Resources"]["Stays"]
    assert stays == {
        "Type": "AWS::SQS::Queue",
        "Properties": {
            "QueueName": {"Fn::Sub": "Gone-Gone-${!Gone}-${AWS::Region}"},
            "Tags": [{"Key": "k", "Value": "Gone"}],
        },
    }


def test_a_parameter_without_a_value_is_named(tmp_path: Path) -> None:
    template = f"Parameters: {{Token: {{Type: String}}}}{FUNCTION}"
    with pytest.raises(TemplateError, match="--parameter-overrides 'Token=…'"):
        project(tmp_path, template)
    assert project(tmp_path, template, Token="x").code


def test_a_loop_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="Fn::ForEach::Queues is no resource"):
        project(tmp_path, "Resources: {'Fn::ForEach::Queues': [Name, [a, b], {}]}")


def test_what_sam_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"Hello.*Missing required property 'Handler'|Hello.*Handler"):
        project(tmp_path, FUNCTION.replace("Handler: app.handler, ", ""))


@pytest.mark.parametrize(
    ("files", "is_built"),
    [
        ({}, False),
        ({"requirements.txt": "# nothing\n"}, False),
        ({"requirements.txt": "humanize\n"}, True),
    ],
)
def test_a_python_function_is_built_if_it_lists_packages(tmp_path: Path, files: dict[str, str], is_built: bool) -> None:
    (tmp_path / "code").mkdir()
    for name, text in files.items():
        (tmp_path / "code" / name).write_text(text)
    found = sources(project(tmp_path, FUNCTION), tmp_path / "build")["Hello"]
    assert (found.built is not None) is is_built
    assert found.code[0] == tmp_path / "code", "the source itself runs, so that a change counts at once"


@pytest.mark.parametrize(
    ("files", "is_built"),
    [
        ({"package.json": '{"type": "module"}'}, False),
        ({"package.json": '{"dependencies": {"ms": "^2"}}'}, True),
        ({"package.json": '{"dependencies": {"ms": "^2"}}', "node_modules/ms/index.js": ""}, False),
    ],
)
def test_a_node_function_is_built_if_its_packages_are_not_installed(
    tmp_path: Path, files: dict[str, str], is_built: bool
) -> None:
    for name, text in files.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    template = FUNCTION.replace("python3.12", "nodejs20.x")
    assert (sources(project(tmp_path, template), tmp_path / "build")["Hello"].built is not None) is is_built


def test_a_function_that_a_bundler_makes_runs_as_it_was_built(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    hello = FUNCTION.replace("nodejs20.x", "").replace(
        "CodeUri: code/}}", "CodeUri: code/}, Metadata: {BuildMethod: esbuild}}"
    )
    found = sources(project(tmp_path, hello), tmp_path / "build")["Hello"]
    assert found.code == (tmp_path / "build/Hello",)


@pytest.mark.parametrize(
    "words",
    [["A=1", "B=two words"], ["A=1 'B=two words'"], ["ParameterKey=A,ParameterValue=1", "B=two\\ words"]],
)
def test_parameter_overrides_are_read_as_sam_reads_them(words: list[str]) -> None:
    if words[1:] == ["B=two words"]:
        words = ["A=1", "'B=two words'"]
    assert parameters.parse(words) == {"A": "1", "B": "two words"}


def test_a_word_that_sets_nothing_is_named() -> None:
    with pytest.raises(StartError, match="write Key=Value"):
        parameters.parse(["Stage"])


def test_the_overrides_of_samconfig_count(tmp_path: Path) -> None:
    (tmp_path / "samconfig.toml").write_text('[default.deploy.parameters]\nparameter_overrides = "A=1 B=2"\n')
    assert parameters.of_project(tmp_path) == {"A": "1", "B": "2"}
    assert parameters.of_project(tmp_path / "elsewhere") == {}


def test_a_folder_without_a_template_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TemplateError, match=r"has no template\.yaml"):
        find_template(None)
    (tmp_path / "template.yml").write_text("")
    assert find_template(None) == tmp_path / "template.yml"


INLINE = "{Type: AWS::Serverless::Function, Properties: {Handler: a.b, Runtime: python3.12, InlineCode: x}}"


@pytest.mark.parametrize(
    "text",
    [
        f"Parameters:\n  Stage:\nResources:\n  F: {INLINE}\n",
        f"Parameters: []\nResources:\n  F: {INLINE}\n",
        f"Globals:\n  Function: x\nResources:\n  F: {INLINE}\n",
        "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n",
        "Resources:\n  A: {Type: AWS::Serverless::WebSocketApi, Properties: {Routes: {$connect: }}}\n",
        "Resources:\n  F: {Type: AWS::Lambda::Function, Properties: Cod}\n",
        "Resources:\n  A: {Type: AWS::ApiGatewayV2::Api, Properties: Pro}\n",
    ],
)
def test_a_template_that_is_half_typed_is_named_and_ends_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(f"Transform: AWS::Serverless-2016-10-31\n{text}")
    with pytest.raises(TemplateError, match=re.escape(str(path))):
        Run(Options(template=path), Terminal())


def test_a_profile_that_does_not_exist_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nope")
    assert "Hello" in project(tmp_path, FUNCTION).expanded["Resources"]
