"""The WebSocket API: stages, routes, responses, permissions, domain."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.cloudformation import resources, template

ENDPOINTS = ("feed", "presence", "calls", "notifications")
STAGES = (*ENDPOINTS, "live")
ROUTES = {"$connect": "Connect", "$disconnect": "Disconnect", "$default": "Default"}
LAMBDA_PATH = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions"


def test_every_endpoint_and_live_is_a_stage_that_deploys_itself() -> None:
    stages = resources("AWS::ApiGatewayV2::Stage").values()
    assert sorted(stage["StageName"] for stage in stages) == sorted(STAGES)
    assert all(stage["AutoDeploy"] is True for stage in stages)
    assert all(stage["ApiId"] == {"Ref": "Api"} for stage in stages)


def test_every_stage_throttles_what_clients_send_once_its_routes_exist() -> None:
    def throttles(share: str) -> dict[str, Any]:
        divisions = ("SharesMostlyPosts", "SharesMostlyLive", "Shares")
        posts, live, shares = [{"Fn::FindInMap": [name, {"Ref": "RequestsPerSecond"}, share]} for name in divisions]
        limit = {"Fn::If": ["PostsHaveMost", posts, {"Fn::If": ["LiveHasMost", live, shares]}]}
        return {"ThrottlingRateLimit": limit, "ThrottlingBurstLimit": limit}

    for stage in resources("AWS::ApiGatewayV2::Stage").values():
        prefix = "Live" if stage["StageName"] == "live" else ""
        assert stage["RouteSettings"] == {
            "$connect": throttles(f"{prefix}Connects"),
            "$default": throttles(f"{prefix}Messages"),
        }
    everything = template()["Resources"]

    def waits_for(name: str) -> set[str]:
        """Return the resources that are made before one."""
        text = json.dumps([everything[name].get("DependsOn", ""), everything[name]["Properties"]])
        direct = {each for each in everything if f'"{each}"' in text or f"${{{each}}}" in text}
        return direct.union(*map(waits_for, direct))

    assert {"ConnectRoute", "DefaultRoute"} <= waits_for("FeedStage")


@pytest.mark.parametrize(("whole", "parts"), template()["Mappings"]["Shares"].items())
def test_posts_and_what_all_stages_let_in_stay_within_the_requests_of_the_stack(
    whole: str, parts: dict[str, str]
) -> None:
    posts, connects, messages = (int(parts[each]) for each in ("Posts", "Connects", "Messages"))
    live = int(parts["LiveConnects"]), int(parts["LiveMessages"])
    assert live == (2 * connects, 2 * messages)
    assert posts + len(ENDPOINTS) * (connects + messages) + sum(live) <= int(whole)
    mostly = {name: int(value) for name, value in template()["Mappings"]["SharesMostlyLive"][whole].items()}
    for each in ("Connects", "Messages"):
        assert 20 * mostly[each] <= mostly[f"Live{each}"], "live has at least 20 of 24 parts"
        together = len(ENDPOINTS) * mostly[each] + mostly[f"Live{each}"]
        assert together == len(ENDPOINTS) * int(parts[each]) + int(parts[f"Live{each}"])


@pytest.mark.parametrize(("whole", "parts"), template()["Mappings"]["SharesMostlyPosts"].items())
def test_posts_may_have_nine_tenths_and_the_stages_what_is_left(whole: str, parts: dict[str, str]) -> None:
    part = {name: int(value) for name, value in parts.items()}
    assert part["Posts"] * 10 == int(whole) * 9
    for each in ("Connects", "Messages"):
        assert part[f"Live{each}"] >= 8 * part[each] > 0, "live has at least two thirds"
    stages = sum(len(ENDPOINTS) * part[each] + part[f"Live{each}"] for each in ("Connects", "Messages"))
    assert 0.095 * int(whole) <= stages <= int(whole) - part["Posts"]


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


def test_a_custom_domain_maps_each_key_to_its_stage() -> None:
    mappings = resources("AWS::ApiGatewayV2::ApiMapping")
    keys = {mapping["ApiMappingKey"]: mapping["Stage"]["Ref"] for mapping in mappings.values()}
    assert keys == {stage: f"{stage.capitalize()}Stage" for stage in STAGES}
    assert all(template()["Resources"][name]["Condition"] == "HasDomain" for name in mappings)


def test_cloudfront_takes_the_documented_prefix_off_the_path() -> None:
    (function,) = resources("AWS::CloudFront::Function").values()
    script = f"{function['FunctionCode']}\nconsole.log(JSON.stringify(process.argv.slice(1).map("
    script += "uri => handler({request: {uri: uri}}).uri)))"
    paths = ["/ws/feed", "/feed", "/ws", "/wsx/feed", "/ws/ws/feed", "/ws/live"]
    run = subprocess.run(["node", "-e", script, *paths], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == ["/feed", "/feed", "/ws", "/wsx/feed", "/ws/feed", "/live"]
