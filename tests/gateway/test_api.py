"""The gateway reads an API from raw resources, as in our template, and from AWS::Serverless::WebSocketApi."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from samsocket.api import Authorizer, Integration, Throttle
from samsocket.errors import AmbiguousApiError, NoWebSocketApiError
from samsocket.reading import read_api
from samsocket.resolver import Resolver
from samsocket.template import Stack, Template
from tests.support.gateways import sample_api

if TYPE_CHECKING:
    from pathlib import Path

    from samsocket.api import WebSocketApi

ALIASES = {"ConnectFunctionAliaslive": "AWS::Lambda::Alias"}
INVOKE = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{}/invocations"
ALIAS = "arn:aws:lambda:us-east-1:000000000000:function:connect-1:live"

RAW = """
Parameters: {ApiTag: {Type: String}}
Conditions: {InCloud: !Equals [!Ref ApiTag, ""]}
Resources:
  Api:
    Type: AWS::ApiGatewayV2::Api
    Properties: {ProtocolType: WEBSOCKET, RouteSelectionExpression: $request.body.type}
  Http:
    Type: AWS::ApiGatewayV2::Api
    Properties: {ProtocolType: HTTP}
  FeedStage:
    Type: AWS::ApiGatewayV2::Stage
    Properties:
      ApiId: !Ref Api
      StageName: feed
      AutoDeploy: true
      StageVariables: {level: 3}
      DefaultRouteSettings: {ThrottlingRateLimit: 100, ThrottlingBurstLimit: 50, DataTraceEnabled: false}
      RouteSettings: {$connect: {ThrottlingRateLimit: 2.5}}
  CloudStage:
    Type: AWS::ApiGatewayV2::Stage
    Condition: InCloud
    Properties: {ApiId: !Ref Api, StageName: cloud, AutoDeploy: true}
  HttpStage:
    Type: AWS::ApiGatewayV2::Stage
    Properties: {ApiId: !Ref Http, StageName: web}
  ConnectRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      ApiId: !Ref Api
      RouteKey: $connect
      AuthorizationType: CUSTOM
      AuthorizerId: !Ref Authorizer
      Target: !Sub integrations/${ConnectIntegration}
  ConnectIntegration:
    Type: AWS::ApiGatewayV2::Integration
    Properties:
      ApiId: !Ref Api
      IntegrationType: AWS_PROXY
      TimeoutInMillis: 1500
      IntegrationUri: !Sub
        - arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Function}/invocations
        - {Function: !Ref ConnectFunction.Alias}
  Authorizer:
    Type: AWS::ApiGatewayV2::Authorizer
    Properties:
      ApiId: !Ref Api
      AuthorizerUri: !Sub
        - arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Guard}/invocations
        - {Guard: !Ref ConnectFunctionAliaslive}
      IdentitySource: [route.request.querystring.token]
  DefaultRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      ApiId: !Ref Api
      RouteKey: $default
      RouteResponseSelectionExpression: $default
      Target: !Join [/, [integrations, !Ref MockIntegration]]
  DefaultRouteResponse:
    Type: AWS::ApiGatewayV2::RouteResponse
    Condition: InCloud
    Properties: {ApiId: !Ref Api, RouteId: !Ref DefaultRoute, RouteResponseKey: $default}
  SelectedOnlyRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      ApiId: !Ref Api
      RouteKey: one
      RouteResponseSelectionExpression: $default
      Target: !Sub integrations/${MockIntegration}
  ResponseOnlyRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties: {ApiId: !Ref Api, RouteKey: two, Target: !Sub "integrations/${MockIntegration}"}
  ResponseOnlyRouteResponse:
    Type: AWS::ApiGatewayV2::RouteResponse
    Properties: {ApiId: !Ref Api, RouteId: !Ref ResponseOnlyRoute, RouteResponseKey: $default}
  MockIntegration:
    Type: AWS::ApiGatewayV2::Integration
    Properties: {ApiId: !Ref Api, IntegrationType: MOCK}
"""

SAM = """
Globals: {WebSocketApi: {RouteSelectionExpression: $request.body.do}}
Resources:
  Chat:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      StageName: prod
      Auth: {AuthType: CUSTOM, AuthArn: !GetAtt Guard.Arn, IdentitySource: [route.request.header.Auth]}
      Routes:
        $connect: {FunctionArn: !GetAtt Join.Arn, IntegrationTimeout: 50}
        join: {FunctionArn: !GetAtt Join.Arn, RouteResponseSelectionExpression: $default}
        leave: {FunctionArn: !GetAtt Join.Arn}
  JoinResponse:
    Type: AWS::ApiGatewayV2::RouteResponse
    Properties: {ApiId: !Ref Chat, RouteId: !Ref ChatJoinRoute, RouteResponseKey: $default}
  Join: {Type: AWS::Serverless::Function}
  Guard: {Type: AWS::Serverless::Function}
"""


def read(tmp_path: Path, text: str, types: dict[str, str], *, logical_id: str | None = None) -> WebSocketApi:
    """Read a template whose resources all have the physical id `{logical id}-1`."""
    path = tmp_path / "template.yaml"
    path.write_text(textwrap.dedent(text))
    template = Template.read(path)
    names = [*template.resources, *types]
    stack = Stack(
        name="stack",
        region="us-east-1",
        account="000000000000",
        parameters={"ApiTag": "realtime"},
        physical={name: ALIAS if "Alias" in name else f"{name}-1" for name in names},
        types={**{name: resource.type for name, resource in template.resources.items()}, **types},
    )
    return read_api(template, stack, Resolver(template, stack), name="template.yaml", logical_id=logical_id)


@pytest.fixture
def raw(tmp_path: Path) -> WebSocketApi:
    return read(tmp_path, RAW, ALIASES)


@pytest.fixture
def sam(tmp_path: Path) -> WebSocketApi:
    return read(tmp_path, SAM, {"Join": "AWS::Lambda::Function", "Guard": "AWS::Lambda::Function"})


def test_stages_are_those_of_the_api_whose_condition_is_true(raw: WebSocketApi) -> None:
    assert raw.api_id == "Api-1"
    assert raw.stages == {"feed": {"level": "3"}}


def test_a_routes_throttle_is_its_own_or_else_the_stages(raw: WebSocketApi, sam: WebSocketApi) -> None:
    assert raw.throttles == {
        ("feed", key): Throttle(rate=2.5 if key == "$connect" else 100, burst=50) for key in raw.routes
    }
    assert sam.throttles == {}


def test_a_route_leads_to_its_function_through_its_integration(raw: WebSocketApi) -> None:
    assert raw.routes["$connect"].integration == Integration(kind="AWS_PROXY", function=ALIAS, timeout=1.5)
    assert raw.routes["two"].integration == Integration(kind="MOCK")


def test_an_existing_and_selected_route_response_counts_even_if_its_condition_is_false(
    raw: WebSocketApi,
) -> None:
    assert {key: route.two_way for key, route in raw.routes.items()} == {
        "$connect": False,
        "$default": True,
        "one": False,
        "two": False,
    }


def test_an_authorizer_is_read_with_its_identity_sources(raw: WebSocketApi) -> None:
    assert raw.routes["$connect"].authorizer == Authorizer(
        function=ALIAS, identity_sources=("route.request.querystring.token",), authorizer_id="Authorizer-1"
    )


def test_a_sam_websocket_api_is_read_with_globals_and_generated_names(sam: WebSocketApi) -> None:
    function = "arn:aws:lambda:us-east-1:000000000000:function:Join-1"
    assert sam.selection_expression == "$request.body.do"
    assert sam.stages == {"prod": {}}
    assert sam.routes["$connect"].integration == Integration(function=function, timeout=0.05)
    assert sam.routes["join"].two_way
    assert not sam.routes["leave"].two_way
    guard = "arn:aws:lambda:us-east-1:000000000000:function:Guard-1"
    assert sam.routes["$connect"].authorizer == Authorizer(
        function=guard, identity_sources=("route.request.header.Auth",)
    )
    assert sam.routes["join"].authorizer is None


def test_a_template_without_a_websocket_api_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoWebSocketApiError, match=r"template\.yaml has no deployed WebSocket API"):
        read(tmp_path, "Resources: {Http: {Type: 'AWS::ApiGatewayV2::Api', Properties: {ProtocolType: HTTP}}}", {})


def test_a_template_with_several_apis_needs_the_name_of_one(tmp_path: Path) -> None:
    both = "Resources:\n" + "".join(
        f"  {name}: {{Type: 'AWS::ApiGatewayV2::Api', Properties: {{ProtocolType: WEBSOCKET}}}}\n" for name in "AB"
    )
    with pytest.raises(AmbiguousApiError, match=r"--api A\|B"):
        read(tmp_path, both, {})
    assert read(tmp_path, both, {}, logical_id="B").api_id == "B-1"


def test_an_api_that_is_asked_for_but_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoWebSocketApiError, match="Nobody"):
        read(tmp_path, RAW, ALIASES, logical_id="Nobody")


def test_a_route_without_an_integration_is_broken_and_the_others_are_not(tmp_path: Path) -> None:
    api = read(tmp_path, RAW.replace("!Ref MockIntegration]]", "nobody]]"), ALIASES)
    assert api.routes["$default"].integration.problem == "it has no integration (integrations/nobody)"
    assert api.routes["$connect"].integration.problem is None
    assert "route $default: it has no integration (integrations/nobody); it answers with an error" in api.notes


def test_a_message_takes_the_route_that_it_names_or_else_the_default() -> None:
    api = sample_api()
    for message, key in [('{"action": "note"}', "note"), ('{"action": "x"}', "$default"), ("hello", "$default")]:
        route = api.route_for(message)
        assert route is not None
        assert route.key == key


@pytest.mark.parametrize("key", ["$connect", "$disconnect"])
def test_no_message_reaches_connect_or_disconnect(key: str) -> None:
    route = sample_api().route_for(f'{{"action": "{key}"}}')
    assert route is not None
    assert route.key == "$default"
