"""The WebSocket API: stages, routes, responses, permissions, domain."""

from __future__ import annotations

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


def test_a_custom_domain_maps_each_endpoint_below_the_prefix_to_its_stage() -> None:
    mappings = resources("AWS::ApiGatewayV2::ApiMapping")
    keys = {mapping["ApiMappingKey"]["Fn::Sub"]: mapping["Stage"]["Ref"] for mapping in mappings.values()}
    assert keys == {f"${{UrlPrefix}}{endpoint}": f"{endpoint.capitalize()}Stage" for endpoint in ENDPOINTS}
    assert all(template()["Resources"][name]["Condition"] == "HasDomain" for name in mappings)


def test_a_custom_domain_is_regional_as_websocket_apis_need() -> None:
    (domain,) = resources("AWS::ApiGatewayV2::DomainName").values()
    (configuration,) = domain["DomainNameConfigurations"]
    assert configuration["EndpointType"] == "REGIONAL"
    assert configuration["SecurityPolicy"] == "TLS_1_2"
    assert template()["Resources"]["Domain"]["Condition"] == "HasDomain"


def test_posts_go_to_the_apis_own_host_and_never_to_the_custom_domain() -> None:
    variables = resources("AWS::Serverless::Function")["BroadcastFunction"]["Environment"]["Variables"]
    assert variables["MANAGEMENT_ENDPOINT"] == {
        "Fn::If": [
            "HasManagementEndpoint",
            {"Ref": "ManagementEndpoint"},
            {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}"},
        ]
    }


def test_the_emulator_is_told_the_apis_id_and_the_cloud_is_not() -> None:
    (api,) = resources("AWS::ApiGatewayV2::Api").values()
    tag = {"ms-custom-id": {"Ref": "ApiTag"}}
    assert api["Tags"] == {"Fn::If": ["InCloud", {"Ref": "AWS::NoValue"}, tag]}
