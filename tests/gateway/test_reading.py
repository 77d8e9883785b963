"""Reading an API: integrations of all kinds, deployments, usage plans, and values that cannot be worked out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from samsocket.api import ApiKey, IntegrationResponse, Throttle
from samsocket.reading import read_apis
from samsocket.resolver import Resolver
from samsocket.template import Stack, Template

if TYPE_CHECKING:
    from pathlib import Path

    from samsocket.api import WebSocketApi

API = "  Api: {Type: AWS::ApiGatewayV2::Api, Properties: {ProtocolType: WEBSOCKET}}\n"
EMULATED = {"Api", "Integration", "Route", "Stage", "Authorizer"}
"""What the emulator deploys of API Gateway; it refuses the rest."""


def read_all(tmp_path: Path, text: str, **stack: Any) -> list[WebSocketApi]:
    """Read a template whose deployed resources have the physical id `{logical id}-1`."""
    path = tmp_path / "template.yaml"
    path.write_text(text)
    template = Template.read(path)
    deployed = {
        name: resource.type
        for name, resource in template.resources.items()
        if not resource.type.startswith("AWS::ApiGatewayV2::") or resource.type.rpartition(":")[2] in EMULATED
    }
    deployed |= stack.pop("generated", {})
    found = Stack(
        name="stack",
        region="us-east-1",
        account="000000000000",
        physical={name: f"{name}-1" for name in deployed} | stack.pop("physical", {}),
        types={name: kind.replace("Serverless", "Lambda") for name, kind in deployed.items()},
        **stack,
    )
    return read_apis(template, found, Resolver(template, found), name="template.yaml")


def read(tmp_path: Path, resources: str, **stack: Any) -> WebSocketApi:
    [api] = read_all(tmp_path, "Resources:\n" + API + textwrap.indent(textwrap.dedent(resources), "  "), **stack)
    return api


def route(integration: str, key: str = "send", **properties: str) -> str:
    """A route and its integration."""
    more = "".join(f", {name}: {value}" for name, value in properties.items())
    return (
        f"Route: {{Type: AWS::ApiGatewayV2::Route, Properties: {{ApiId: !Ref Api, RouteKey: {key}, "
        f"Target: !Sub 'integrations/${{I}}'{more}}}}}\n"
        "I:\n  Type: AWS::ApiGatewayV2::Integration\n  Properties:\n    ApiId: !Ref Api\n"
        + textwrap.indent(textwrap.dedent(integration), "    ")
    )


def test_an_integration_is_read_with_templates_parameters_and_responses(tmp_path: Path) -> None:
    api = read(
        tmp_path,
        route(
            r"""
            IntegrationType: AWS
            IntegrationMethod: PUT
            IntegrationUri: !Sub arn:aws:apigateway:${AWS::Region}:sqs:path/${AWS::AccountId}/${Queue.QueueName}
            CredentialsArn: !GetAtt Role.Arn
            PassthroughBehavior: NEVER
            TemplateSelectionExpression: \$default
            RequestParameters: {integration.request.header.Content-Type: "'text/plain'"}
            RequestTemplates: {$default: Action=SendMessage}
            """
        )
        + r"""
Response:
  Type: AWS::ApiGatewayV2::IntegrationResponse
  Properties:
    ApiId: !Ref Api
    IntegrationId: !Ref I
    IntegrationResponseKey: /200/
    TemplateSelectionExpression: \$default
    ResponseTemplates: {$default: fine}
Queue: {Type: AWS::SQS::Queue}
Role: {Type: AWS::IAM::Role}
""",
        physical={"Queue": "http://127.0.0.1:4566/000000000000/stack-Queue.fifo"},
    )
    integration = api.routes["send"].integration
    assert integration.uri == "arn:aws:apigateway:us-east-1:sqs:path/000000000000/stack-Queue.fifo"
    assert (integration.kind, integration.method, integration.passthrough) == ("AWS", "PUT", "NEVER")
    assert integration.templates == {"$default": "Action=SendMessage"}
    assert integration.selection == r"\$default"
    assert integration.parameters == {"integration.request.header.Content-Type": "'text/plain'"}
    assert integration.responses == {
        "/200/": IntegrationResponse(templates={"$default": "fine"}, selection=r"\$default")
    }
    assert integration.has_credentials
    assert api.notes == ()


def test_stage_variables_stay_in_a_functions_name(tmp_path: Path) -> None:
    function = "arn:aws:lambda:us-east-1:000000000000:function:${!stageVariables.fn}"
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function}/invocations"
    api = read(tmp_path, route(f"IntegrationType: AWS_PROXY\nIntegrationUri: !Sub '{uri}'"))
    assert api.routes["send"].integration.function == function.replace("!", "")


STAGES = """
Deployment: {Type: AWS::ApiGatewayV2::Deployment, Properties: {ApiId: !Ref Api}}
Explicit:
  Type: AWS::ApiGatewayV2::Stage
  Properties:
    {ApiId: !Ref Api, StageName: explicit, DeploymentId: !Ref Deployment, StageVariables: {a: !Ref AWS::Region}}
Automatic: {Type: AWS::ApiGatewayV2::Stage, Properties: {ApiId: !Ref Api, StageName: auto, AutoDeploy: true}}
Switched: {Type: AWS::ApiGatewayV2::Stage, Properties: {ApiId: !Ref Api, StageName: off, AutoDeploy: false}}
Empty: {Type: AWS::ApiGatewayV2::Stage, Properties: {ApiId: !Ref Api, StageName: empty}}
"""


def test_a_stage_needs_a_deployment_even_if_the_emulator_knows_none(tmp_path: Path) -> None:
    api = read(tmp_path, STAGES.replace("StageName: off", "StageName: 'off'"))
    assert api.stages == {"explicit": {"a": "us-east-1"}, "auto": {}}
    assert [note.split(":")[0] for note in api.notes] == ["Switched (AWS", "Empty (AWS"]


@pytest.mark.parametrize(
    ("integration", "problem"),
    [
        ("IntegrationType: HTTP\nIntegrationUri: !ImportValue url", "cannot resolve Fn::ImportValue url"),
        ("IntegrationType: HTTP\nIntegrationUri: !GetAtt Nobody.Url", "cannot resolve Fn::GetAtt Nobody.Url"),
        ("IntegrationType: HTTP\nConnectionType: VPC_LINK\nIntegrationUri: x", "VPC links are not served"),
        ("IntegrationType: GRPC", "integrations of type GRPC do not exist"),
        ("IntegrationType: AWS_PROXY\nIntegrationUri: nobody", "nobody is no Lambda function"),
        ("IntegrationType: MOCK\nTimeoutInMillis: soon", "cannot resolve the number soon"),
        ("IntegrationType: MOCK\nRequestTemplates: [x]", "cannot resolve the map ['x']"),
    ],
)
def test_an_integration_that_cannot_work_is_broken_and_named(tmp_path: Path, integration: str, problem: str) -> None:
    api = read(tmp_path, route(integration))
    assert (api.routes["send"].integration.problem or "").startswith(problem)
    assert any(note.startswith(f"route send: {problem}") for note in api.notes)


def test_what_the_template_does_not_tell_the_emulator_may_show(tmp_path: Path) -> None:
    integration = "IntegrationType: HTTP\nIntegrationUri: !GetAtt Server.Url"
    api = read(tmp_path, route(integration), shown={"I-1": {"IntegrationUri": "http://shown"}})
    assert api.routes["send"].integration.uri == "http://shown"
    integration = "IntegrationType: HTTP\nIntegrationUri: !ImportValue url"
    api = read(tmp_path, route(integration), exports={"url": "http://exported"})
    assert api.routes["send"].integration.uri == "http://exported"


@pytest.mark.parametrize(
    ("resource", "kept"),
    [
        ("Stage, Properties: {ApiId: !Ref Api, StageName: !ImportValue x, AutoDeploy: true}", "stages"),
        ("Stage, Properties: {ApiId: !ImportValue x, StageName: y, AutoDeploy: true}", "stages"),
        ("Route, Properties: {ApiId: !Ref Api, RouteKey: !ImportValue x}", "routes"),
        ("Route, Condition: Nothing, Properties: {ApiId: !Ref Api, RouteKey: x}", "routes"),
    ],
)
def test_a_stage_or_route_that_cannot_be_read_is_left_out_and_named(tmp_path: Path, resource: str, kept: str) -> None:
    api = read(tmp_path, f"Bad: {{Type: AWS::ApiGatewayV2::{resource}}}\n" + STAGES + route("IntegrationType: MOCK"))
    assert set(api.stages) == {"explicit", "auto"}
    assert set(api.routes) == {"send"}
    assert any(note.startswith("Bad (AWS::ApiGatewayV2::") and "cannot resolve" in note for note in api.notes)


def test_a_stage_variable_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    api = read(tmp_path, STAGES.replace("a: !Ref AWS::Region", "a: !ImportValue x, b: 2"))
    assert api.stages["explicit"] == {"b": "2"}


def test_an_authorizer_that_is_not_there_lets_nobody_in(tmp_path: Path) -> None:
    guarded = {"AuthorizationType": "CUSTOM", "AuthorizerId": "!ImportValue x"}
    api = read(tmp_path, route("IntegrationType: MOCK", "$connect", **guarded))
    authorizer = api.routes["$connect"].authorizer
    assert authorizer is not None
    assert authorizer.function == ""
    assert any("lets nobody in" in note for note in api.notes)


def test_what_is_not_served_is_named(tmp_path: Path) -> None:
    service = "arn:aws:apigateway:us-east-1:sns:action/Publish"
    integration = f"IntegrationType: AWS\nContentHandlingStrategy: CONVERT_TO_BINARY\nIntegrationUri: '{service}'"
    api = read(tmp_path, route(integration, RequestModels="{a: b}"))
    text = "\n".join(api.notes)
    for words in ("RequestModels are not checked", "CONVERT_TO_BINARY is not served", "without CredentialsArn"):
        assert words in text


PLANS = """
Plan:
  Type: AWS::ApiGateway::UsagePlan
  Properties:
    ApiStages: [{ApiId: !Ref Api, Stage: auto}, {ApiId: other, Stage: b}]
    Throttle: {RateLimit: 2, BurstLimit: 3}
Given: {Type: AWS::ApiGateway::ApiKey, Properties: {Enabled: true, Value: given-value}}
Made: {Type: AWS::ApiGateway::ApiKey}
Off: {Type: AWS::ApiGateway::ApiKey, Properties: {Enabled: false, Value: off-value}}
Loose: {Type: AWS::ApiGateway::ApiKey, Properties: {Value: loose-value}}
A: {Type: AWS::ApiGateway::UsagePlanKey, Properties: {KeyId: !Ref Given, KeyType: API_KEY, UsagePlanId: !Ref Plan}}
B: {Type: AWS::ApiGateway::UsagePlanKey, Properties: {KeyId: !Ref Made, KeyType: API_KEY, UsagePlanId: !Ref Plan}}
C: {Type: AWS::ApiGateway::UsagePlanKey, Properties: {KeyId: !Ref Off, KeyType: API_KEY, UsagePlanId: !Ref Plan}}
"""


def test_api_keys_are_those_of_usage_plans_with_the_values_that_the_emulator_made(tmp_path: Path) -> None:
    connect = route("IntegrationType: MOCK", "$connect", ApiKeyRequired="true")
    api = read(tmp_path, PLANS + connect, key_values={"Made-1": "made-value"})
    stages, throttle = frozenset({"auto"}), Throttle(rate=2, burst=3)
    assert api.routes["$connect"].api_key_required
    assert api.api_keys == {
        "given-value": ApiKey(key_id="Given-1", stages=stages, throttle=throttle),
        "made-value": ApiKey(key_id="Made-1", stages=stages, throttle=throttle),
    }


def test_globals_are_merged_as_sam_merges_them(tmp_path: Path) -> None:
    [api] = read_all(
        tmp_path,
        """
Globals: {WebSocketApi: {StageName: of-globals, StageVariables: {var1: a, var2: b}}}
Resources:
  Chat:
    Type: AWS::Serverless::WebSocketApi
    Properties: {StageName: prod, StageVariables: {var2: c, var3: d}, Routes: {$default: {FunctionArn: !ImportValue x}}}
""",
    )
    assert api.stages == {"prod": {"var1": "a", "var2": "c", "var3": "d"}}
    assert api.routes["$default"].integration.problem == "cannot resolve Fn::ImportValue x in the template"


def test_all_apis_of_a_template_are_read(tmp_path: Path) -> None:
    apis = read_all(tmp_path, "Resources:\n" + API + API.replace("Api:", "Other:", 1))
    assert [(api.name, api.api_id) for api in apis] == [("Api", "Api-1"), ("Other", "Other-1")]
