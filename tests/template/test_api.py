"""The WebSocket API: stages, routes, responses, permissions, domain."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cloudformation import resources, template

ENDPOINTS = ("feed", "presence", "calls", "notifications")
ROUTES = {"$connect": "Connect", "$disconnect": "Disconnect", "$default": "Default"}
LAMBDA_PATH = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions"


def test_every_endpoint_is_a_stage_that_deploys_itself() -> None:
    stages = resources("AWS::ApiGatewayV2::Stage").values()
    assert sorted(stage["StageName"] for stage in stages) == sorted(ENDPOINTS)
    assert all(stage["AutoDeploy"] is True for stage in stages)
    assert all(stage["ApiId"] == {"Ref": "Api"} for stage in stages)


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
