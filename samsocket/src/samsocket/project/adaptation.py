"""Makes of an expanded template what the emulator MiniStack can deploy.

Its functions are replaced by one that passes each event on to our own processes: streams, queues, rules and other
functions then reach them through the emulator. What the emulator does not know is taken out; the gateway still reads it
from the expanded template.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from samsocket.project.sources import FUNCTION, LAYER

INVOKE: Final = "SAMSOCKET_INVOKE"
"""The variable of a deployed function with the URL at which our own process takes its events."""

_REFUSED: Final = (
    "AWS::ApiGatewayV2::Deployment",
    "AWS::ApiGatewayV2::IntegrationResponse",
    "AWS::ApiGatewayV2::Model",
    "AWS::ApiGatewayV2::RouteResponse",
    "AWS::ApiGatewayV2::DomainName",
    "AWS::ApiGatewayV2::ApiMapping",
    "AWS::CloudFormation::Stack",  # one whose template is not a file here
    LAYER,
)
_KEPT_OF_A_FUNCTION: Final = (
    "FunctionName",
    "Role",
    "Timeout",
    "MemorySize",
    "DeadLetterConfig",
    "Tags",
    "Description",
)
_VARIABLE: Final = re.compile(r"\$\{([^!}.]+)((?:\.[^}]+)?)\}")
_STAND_IN: Final = """
import json
import os
import urllib.error
import urllib.request


def handler(event, context):
    request = urllib.request.Request(os.environ["SAMSOCKET_INVOKE"], data=json.dumps(event).encode())
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.loads(error.read()).get("failed", "failed")) from None
"""


def adapt(
    expanded: Mapping[str, Any], invoke_url: str, left_out: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the template to deploy, and what was taken out of it: types by logical id.

    `left_out` are types and logical ids that the emulator was found not to deploy.
    """
    template = copy.deepcopy(dict(expanded))
    resources: dict[str, Any] = template["Resources"]
    removed = {
        logical_id: str(resource.get("Type"))
        for logical_id, resource in resources.items()
        if resource.get("Type") in _REFUSED or resource.get("Type") in left_out or logical_id in left_out
    }
    for logical_id in removed:
        del resources[logical_id]
    for logical_id, resource in resources.items():
        properties = resource.setdefault("Properties", {})
        resource.pop("Metadata", None)
        if resource.get("Type") == FUNCTION:
            resource["Properties"] = _stand_in(properties, f"{invoke_url}/{logical_id}")
        if resource.get("Type") == "AWS::ApiGatewayV2::Stage":
            properties.pop("DeploymentId", None)
            properties["AutoDeploy"] = True
        kept = [name for name in _listed(resource.get("DependsOn")) if name not in removed]
        resource.pop("DependsOn", None)
        if kept:
            resource["DependsOn"] = kept
    template.pop("Transform", None)
    for name in ("Resources", "Outputs", "Conditions"):
        if name in template:
            template[name] = _without_references(template[name], removed)
    return template, removed


def _stand_in(properties: Mapping[str, Any], url: str) -> dict[str, Any]:
    variables = dict((properties.get("Environment") or {}).get("Variables") or {})
    return {
        **{name: properties[name] for name in _KEPT_OF_A_FUNCTION if name in properties},
        "Code": {"ZipFile": _STAND_IN},
        "Handler": "index.handler",
        "Runtime": "python3.11",
        "Environment": {"Variables": {**{name: _text(value) for name, value in variables.items()}, INVOKE: url}},
    }


def _text(value: Any) -> Any:
    """Return a variable's value as CloudFormation makes it text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _without_references(value: Any, removed: Mapping[str, str]) -> Any:
    """Put the logical id in place of each reference to what was taken out."""
    if isinstance(value, list):
        return [_without_references(item, removed) for item in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        (name, argument), *_ = value.items()
        if name == "Ref" and argument in removed:
            return argument
        if name == "Fn::GetAtt":
            parts = argument if isinstance(argument, list) else str(argument).split(".", 1)
            return parts[0] if parts and parts[0] in removed else value
        if name == "Fn::Sub":
            text, *variables = argument if isinstance(argument, list) else [argument]
            text = _VARIABLE.sub(lambda found: found[1] if found[1] in removed else found[0], str(text))
            return {name: [text, *_without_references(variables, removed)] if variables else text}
    return {key: _without_references(item, removed) for key, item in value.items()}
