"""The WebSocket API: stages, routes, responses, permissions, domain."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cloudformation import resources, template

ENDPOINTS = ("feed", "presence", "calls", "notifications")
ROUTES = {"$connect": "Connect", "$disconnect": "Disconnect", "$default": "Default"}
LAMBDA_PATH = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions"


def test_there_is_one_api_and_it_is_a_websocket_api() -> None:
    (api,) = resources("AWS::ApiGatewayV2::Api").values()
    assert api["ProtocolType"] == "WEBSOCKET"


def test_every_endpoint_is_a_stage_that_deploys_itself() -> None:
    stages = resources("AWS::ApiGatewayV2::Stage").values()
    assert sorted(stage["StageName"] for stage in stages) == sorted(ENDPOINTS)
    assert all(stage["AutoDeploy"] is True for stage in stages)
    assert all(stage["ApiId"] == {"Ref": "Api"} for stage in stages)


def test_no_stage_logs_what_it_gives_to_functions_for_tokens_are_in_it() -> None:
    for stage in resources("AWS::ApiGatewayV2::Stage").values():
        assert stage["DefaultRouteSettings"] == {"LoggingLevel": "OFF", "DataTraceEnabled": False}
        assert "RouteSettings" not in stage
        assert "AccessLogSettings" not in stage


def test_the_routes_are_the_three_that_every_message_takes() -> None:
    routes = resources("AWS::ApiGatewayV2::Route").values()
    assert {route["RouteKey"] for route in routes} == ROUTES.keys()


@pytest.mark.parametrize(("key", "name"), ROUTES.items())
def test_a_route_leads_to_its_functions_alias(key: str, name: str) -> None:
    route = resources("AWS::ApiGatewayV2::Route")[f"{name}Route"]
    integration = resources("AWS::ApiGatewayV2::Integration")[f"{name}Integration"]
    assert route["RouteKey"] == key
    assert route["Target"] == {"Fn::Sub": f"integrations/${{{name}Integration}}"}
    assert integration["IntegrationType"] == "AWS_PROXY"
    assert integration["IntegrationUri"] == {
        "Fn::Sub": [f"{LAMBDA_PATH}/${{Function}}/invocations", {"Function": {"Ref": f"{name}Function.Alias"}}]
    }


@pytest.mark.parametrize(("key", "name"), ROUTES.items())
def test_the_api_may_call_a_routes_function_from_any_of_its_stages(key: str, name: str) -> None:
    permission = resources("AWS::Lambda::Permission")[f"{name}Permission"]
    assert permission == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": f"{name}Function.Alias"},
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": {
            "Fn::Sub": f"arn:${{AWS::Partition}}:execute-api:${{AWS::Region}}:${{AWS::AccountId}}:${{Api}}/*/{key}"
        },
    }


def test_only_default_answers_the_client_with_what_its_function_returns() -> None:
    routes = resources("AWS::ApiGatewayV2::Route")
    selecting = {name for name, route in routes.items() if "RouteResponseSelectionExpression" in route}
    assert selecting == {"DefaultRoute"}
    assert routes["DefaultRoute"]["RouteResponseSelectionExpression"] == "$default"
    (response,) = resources("AWS::ApiGatewayV2::RouteResponse").values()
    assert response["RouteId"] == {"Ref": "DefaultRoute"}
    assert response["RouteResponseKey"] == "$default"


def test_what_the_emulator_refuses_is_made_in_the_cloud_alone() -> None:
    assert template()["Conditions"]["InCloud"] == {"Fn::Equals": [{"Ref": "ApiTag"}, ""]}
    assert template()["Resources"]["DefaultRouteResponse"]["Condition"] == "InCloud"


def test_a_custom_domain_maps_each_endpoint_to_its_stage() -> None:
    mappings = resources("AWS::ApiGatewayV2::ApiMapping")
    keys = {mapping["ApiMappingKey"]: mapping["Stage"]["Ref"] for mapping in mappings.values()}
    assert keys == {endpoint: f"{endpoint.capitalize()}Stage" for endpoint in ENDPOINTS}
    assert all(template()["Resources"][name]["Condition"] == "HasDomain" for name in mappings)


def test_cloudfront_takes_the_documented_prefix_off_the_path() -> None:
    (function,) = resources("AWS::CloudFront::Function").values()
    script = f"{function['FunctionCode']}\nconsole.log(JSON.stringify(process.argv.slice(1).map("
    script += "uri => handler({request: {uri: uri}}).uri)))"
    paths = ["/ws/feed", "/feed", "/ws", "/wsx/feed", "/ws/ws/feed"]
    run = subprocess.run(["node", "-e", script, *paths], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == ["/feed", "/feed", "/ws", "/wsx/feed", "/ws/feed"]


def test_cloudfront_hands_on_the_query_string_and_caches_nothing() -> None:
    (distribution,) = resources("AWS::CloudFront::Distribution").values()
    behavior = distribution["DistributionConfig"]["DefaultCacheBehavior"]
    assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # Managed-CachingDisabled
    assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"  # ...AllViewerExceptHostHeader


def test_a_custom_domain_is_regional_as_websocket_apis_need() -> None:
    (domain,) = resources("AWS::ApiGatewayV2::DomainName").values()
    (configuration,) = domain["DomainNameConfigurations"]
    assert configuration["EndpointType"] == "REGIONAL"
    assert configuration["SecurityPolicy"] == "TLS_1_2"
    assert template()["Resources"]["Domain"]["Condition"] == "HasDomain"


FUNCTIONS_THAT_POST = ("Default", "Broadcast", "BroadcastWide", "Farewell", "Sweep")


@pytest.mark.parametrize("name", FUNCTIONS_THAT_POST)
def test_posts_go_to_the_apis_own_host_unless_that_is_closed(name: str) -> None:
    variables = resources("AWS::Serverless::Function")[f"{name}Function"]["Environment"]["Variables"]
    own = {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}"}
    in_cloud = {"Fn::If": ["IsReachedByDomainAlone", {"Fn::Sub": "https://${DomainName}"}, own]}
    assert variables["MANAGEMENT_ENDPOINT"] == {
        "Fn::If": ["HasManagementEndpoint", {"Ref": "ManagementEndpoint"}, in_cloud]
    }
    closed = {"Fn::Equals": [{"Ref": "DisableExecuteApiEndpoint"}, "true"]}
    assert template()["Conditions"]["IsReachedByDomainAlone"] == closed


def test_the_emulator_is_told_the_apis_id_and_the_cloud_is_not() -> None:
    (api,) = resources("AWS::ApiGatewayV2::Api").values()
    tag = {"ms-custom-id": {"Ref": "ApiTag"}}
    assert api["Tags"] == {"Fn::If": ["InCloud", {"Ref": "AWS::NoValue"}, tag]}
