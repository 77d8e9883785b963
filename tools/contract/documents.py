"""The files with schemas: JSON Schema and AsyncAPI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from realtime.audiences import LIVE
from realtime.messages import STAGES
from tools.contract import examples
from tools.contract.definition import SOURCE, Contract, Said
from tools.contract.schemas import PREFIX, Schema, closure, map_schema, name_of, reference

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LICENCE = {"name": "MIT"}
WARNING = "# Written by `python -m tools.contract`: change the types in layers/realtime/realtime/contract instead.\n"
VERSION = "1.0.0"  # of the contract: the second number rises with each addition; nothing is ever taken away
_ABOUT = """\
What clients and backends of Listener Realtime receive and send. The page docs/protocol.md shows the same; \
docs/clients.md and docs/backends.md explain it."""


def json_schemas(contract: Contract) -> dict[str, str]:
    """Return the files of JSON Schemas, by name."""
    backend, service = (
        {"oneOf": [reference(each.name) for each in events]}
        for events in (contract.from_backends, contract.to_backends)
    )
    roots: dict[str, tuple[str, Schema]] = {
        "server-frame": ("A frame that a client receives", reference("ServerFrame")),
        "client-frame": ("A frame that a client sends", reference("ClientFrame")),
        "backend-event": ("An event that a backend puts on the bus", backend),
        "service-event": ("An event that the service puts on the bus", service),
        "admin-request": (
            "What the function admin is asked",
            {"oneOf": [reference(each.name) for each in contract.asked]},
        ),
        "admin-answer": ("What the function admin answers", {"anyOf": [reference(each) for each in contract.answered]}),
        "token": ("The claims of the token with which a client connects", reference("TokenClaims")),
    }
    return {f"{name}.json": _json(_bundle(name, *root, contract)) for name, root in roots.items()}


def _bundle(name: str, title: str, root: Schema, contract: Contract) -> Schema:
    defined = closure(root, {**contract.schemas, **contract.of_admin})
    return {"$schema": DIALECT, "$id": f"urn:listener-realtime:{name}", "title": title, **root, "$defs": defined}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def asyncapi(contract: Contract) -> str:
    """Return the AsyncAPI document, from the service's point of view: it `sends` what clients receive."""
    document = {
        "asyncapi": "3.1.0",
        "info": {"title": "Listener Realtime", "version": VERSION, "description": _ABOUT, "license": LICENCE},
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {**{stage: _stage(stage, contract) for stage in STAGES}, "bus": _bus(contract)},
        "operations": {name: each for stage in STAGES for name, each in _operations(stage, contract).items()}
        | _bus_operations(contract),
        "components": {
            "messages": _messages(contract),
            "schemas": _in_components(contract.schemas),
            "securitySchemes": {
                "query": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "token",
                    "description": "A signed JWT; its payload is described by #/components/schemas/TokenClaims.",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The same in the header Authorization, or as the subprotocol after `bearer`.",
                },
                "aws": {
                    "type": "userPassword",
                    "description": "AWS credentials with the right events:PutEvents on the bus.",
                },
            },
        },
    }
    return WARNING + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes each part in full, where YAML would refer to one that it has written before."""

    def ignore_aliases(self, _: object) -> bool:
        return True


def _servers() -> dict[str, Any]:
    return {
        "websocket": {
            "host": "{domain}",
            "protocol": "wss",
            "description": "Before CloudFront and on your own machine, the addresses of the channels begin with /ws.",
            "variables": {"domain": {"description": "The stack's domain.", "default": "ws.example.com"}},
            "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("query", "bearer")],
        },
        "events": {
            "host": "events.{region}.amazonaws.com",
            "protocol": "https",
            "description": "Amazon EventBridge: PutEvents, and rules.",
            "variables": {"region": {"description": "The stack's Region.", "default": "us-east-1"}},
            "security": [{"$ref": "#/components/securitySchemes/aws"}],
        },
    }


def _stage(stage: str, contract: Contract) -> dict[str, Any]:
    names = [each.name for each in (*contract.received, *contract.sent) if stage in each.stages]
    hears = "one socket for all endpoints" if stage == LIVE else f"the endpoint {stage}"
    return {
        "address": f"/{stage}",
        "title": stage,
        "description": f"A WebSocket: {hears}.",
        "servers": [{"$ref": "#/servers/websocket"}],
        "messages": {name: _message_reference(name) for name in [*names, "Messages", "GatewayError"]},
        "bindings": {
            "ws": {"method": "GET", "query": _in_components(contract.schemas["Parameters"]), "bindingVersion": "0.1.0"}
        },
    }


def _bus(contract: Contract) -> dict[str, Any]:
    names = [each.name for each in (*contract.from_backends, *contract.to_backends)]
    return {
        "address": "{bus}",
        "title": "The bus",
        "description": "The EventBridge bus between backends and the service. Events keep no order.",
        "servers": [{"$ref": "#/servers/events"}],
        "parameters": {"bus": {"description": "The stack's output BusName.", "default": "listener-realtime"}},
        "messages": {name: _message_reference(name) for name in names},
    }


def _message_reference(name: str) -> Schema:
    return {"$ref": f"#/components/messages/{name}"}


def _on(channel: str, names: Sequence[str]) -> list[Schema]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


# What answers a frame, besides an error.
ANSWERS = {
    "ping": ["Pong"],
    "resume": ["Messages", "Resumed"],
    "ack": ["Acknowledged"],
    "authenticate": ["Authenticated"],
    "sync": ["Snapshot"],
    "watch": ["Snapshot"],
    "unwatch": ["Snapshot"],
    "status": ["StatusSet"],
    "count": ["Occupancy"],
    "history": ["HistoryPage"],
}


def _operations(stage: str, contract: Contract) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{stage}"}
    told = [each.name for each in contract.received if stage in each.stages]
    operations: dict[str, Any] = {
        f"{stage}.tell": {
            "action": "send",
            "channel": channel,
            "summary": f"Clients on {stage} receive these.",
            "messages": _on(stage, [*told, "Messages", "GatewayError"]),
        }
    }
    for each in contract.sent:
        if stage in each.stages:
            replay = told if each.kind == "resume" else []  # to a `last_id`, one by one
            answers = dict.fromkeys([*ANSWERS[each.kind], *replay, "Error"])
            operations[f"{stage}.{each.kind}"] = {
                "action": "receive",
                "channel": channel,
                "summary": contract.schemas[each.name]["description"],
                "messages": _on(stage, [each.name]),
                "reply": {"channel": channel, "messages": _on(stage, list(answers))},
            }
    return operations


def _bus_operations(contract: Contract) -> dict[str, Any]:
    channel = {"$ref": "#/channels/bus"}
    return {
        "bus.hear": {
            "action": "receive",
            "channel": channel,
            "summary": "Backends put these on the bus.",
            "messages": _on("bus", [each.name for each in contract.from_backends]),
        },
        "bus.tell": {
            "action": "send",
            "channel": channel,
            "summary": "The service puts these on the bus; an event may come twice, with the same `id`.",
            "messages": _on("bus", [each.name for each in contract.to_backends]),
        },
    }


def _messages(contract: Contract) -> dict[str, Any]:
    received = {each.name: _message(each, contract, examples.RECEIVED[each.kind]) for each in contract.received}
    several = [examples.RECEIVED["call_started"], examples.RECEIVED["call_ended"]]
    array = {"type": "array", "items": reference("Message"), "minItems": 1}
    own = {"message": "Too Many Requests", "connectionId": "L0SM9cOFvHcCIhw=", "requestId": "VWRSPGZ5oAMFmHg="}
    return {
        **received,
        "Messages": _described("messages", "Several messages in one frame.", array, several),
        "GatewayError": _described(
            "gateway_error", contract.schemas["GatewayError"]["description"], reference("GatewayError"), own
        ),
        **{each.name: _message(each, contract, examples.SENT[each.kind]) for each in contract.sent},
        **{
            each.name: _message(
                each, contract, examples.bus_event(each.kind, examples.FROM_BACKENDS[each.kind], "marketplace")
            )
            for each in contract.from_backends
        },
        **{
            each.name: _message(each, contract, examples.bus_event(each.kind, examples.TO_BACKENDS[each.kind], SOURCE))
            for each in contract.to_backends
        },
    }


def _message(said: Said, contract: Contract, example: Any) -> dict[str, Any]:
    summary = contract.schemas[said.name]["description"]
    return _described(said.kind, summary, reference(said.name), example)


def _described(name: str, summary: str, payload: Schema, example: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "payload": _in_components(payload),
        "examples": [{"payload": example}],
    }


def _in_components(schema: Any) -> Any:
    """Return a schema whose references lead to the components of an AsyncAPI document."""

    def change(each: Schema) -> Schema:
        if str(each.get("$ref", "")).startswith(PREFIX):
            return {**each, "$ref": f"#/components/schemas/{name_of(each)}"}
        return each

    return map_schema(schema, change)
