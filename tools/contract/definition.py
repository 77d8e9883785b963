"""The whole contract: what is received and sent where, and the schemas of all of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from realtime.audiences import LIVE
from realtime.backend_events import EVENT_TYPES, MAX_ACKNOWLEDGING, MAX_RECIPIENTS, DeliveryOptions, EventType
from realtime.contract import admin, from_backends, from_clients, to_backends, to_clients
from realtime.contract.token import TokenClaims
from realtime.messages import STAGES
from tools.contract.schemas import Schema, define, kind_of, name_of, reference

SOURCE = "realtime"
_OF_PRESENCE = ("feed", "presence", LIVE)
_OF_USER = ("calls", "notifications", LIVE)


@dataclass(frozen=True, slots=True)
class Said:
    """A message, a frame or an event: its type, the name of its schema, and the stages whose sockets carry it."""

    kind: str
    name: str
    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contract:
    """Everything that is said, and the schemas, by name."""

    received: tuple[Said, ...]
    sent: tuple[Said, ...]
    from_backends: tuple[Said, ...]
    to_backends: tuple[Said, ...]
    schemas: dict[str, Schema]
    asked: tuple[Said, ...]  # of the function `admin`, by action
    answered: tuple[str, ...]  # by it: names of schemas
    of_admin: dict[str, Schema]  # what `admin` alone has


@cache
def contract() -> Contract:
    """Return the contract."""
    received = [
        *(_said(each, (stage, LIVE)) for stage, kinds in to_clients.OF_ENDPOINTS.items() for each in kinds),
        *(_said(each, _OF_PRESENCE) for each in to_clients.OF_PRESENCE),
        *(_said(each, _OF_USER) for each in to_clients.OF_USER),
        *(_said(each, STAGES) for each in to_clients.OF_ALL),
    ]
    sent = [
        *(_said(each, STAGES) for each in from_clients.FRAMES),
        *(_said(each, _OF_PRESENCE) for each in from_clients.FRAMES_OF_PRESENCE),
        *(_said(each, _OF_USER) for each in from_clients.FRAMES_OF_USER),
    ]
    clients = [kind for kinds in to_clients.OF_ENDPOINTS.values() for kind in kinds]
    schemas = define(
        [
            *clients,
            *to_clients.OF_PRESENCE,
            *to_clients.OF_USER,
            *to_clients.OF_ALL,
            to_clients.GatewayError,
            *from_clients.FRAMES,
            *from_clients.FRAMES_OF_PRESENCE,
            *from_clients.FRAMES_OF_USER,
            from_clients.Parameters,
            *(rules.schema for rules in EVENT_TYPES.values()),
            DeliveryOptions,
            *to_backends.EVENTS.values(),
            TokenClaims,
        ]
    )
    schemas |= _unions(received, sent)
    schemas["HistoryPageData"]["properties"]["messages"]["items"] = reference("Message")
    schemas |= _deliveries(schemas.pop("DeliveryOptions"))
    incoming = [Said(kind, _camel(kind) + "Event") for kind in EVENT_TYPES]
    outgoing = [Said(kind, _camel(kind) + "Event") for kind in to_backends.EVENTS]
    for kind, rules in EVENT_TYPES.items():
        schemas |= _backend_event(kind, rules, schemas)
    for kind, detail in to_backends.EVENTS.items():
        summary = to_backends.SUMMARIES[kind]
        schemas[_camel(kind) + "Event"] = _event(kind, summary, detail.__name__, {"const": SOURCE})
    schemas = _without_unused(schemas)
    return Contract(
        tuple(received),
        tuple(sent),
        tuple(incoming),
        tuple(outgoing),
        schemas,
        asked=tuple(Said(kind_of(each, "action"), each.__name__) for each in admin.REQUESTS),
        answered=tuple(each.__name__ for each in admin.ANSWERS),
        of_admin=_of_admin(schemas),
    )


def _of_admin(others: dict[str, Schema]) -> dict[str, Schema]:
    """Return the schemas of what `admin` is asked and answers, without those that others have as well."""
    schemas = define([*admin.REQUESTS, *admin.ANSWERS])
    revokes = {"properties": {"revoke": {"const": True}}, "required": ["revoke"]}
    one_connection = {"required": ["connection_id"], "not": {"anyOf": [{"required": ["user_id"]}, revokes]}}
    all_of_a_user = {"required": ["user_id"], "not": {"required": ["connection_id"]}}
    schemas["DisconnectRequest"] |= {"anyOf": [all_of_a_user, one_connection]}
    return {name: schema for name, schema in schemas.items() if name not in others}


def _said(kind: type, stages: tuple[str, ...]) -> Said:
    return Said(kind_of(kind), kind.__name__, tuple(each for each in STAGES if each in stages))


def _unions(received: list[Said], sent: list[Said]) -> dict[str, Schema]:
    return {
        "Message": {
            "description": "A message that a client receives. Ignore types and keys that you do not know.",
            "oneOf": [reference(each.name) for each in received],
        },
        "ServerFrame": {
            "description": "What a client finds in a text frame: a message; an array of them with `batch=true` and "
            "after `resume`; or an error of API Gateway's own.",
            "anyOf": [
                reference("Message"),
                {"type": "array", "items": reference("Message"), "minItems": 1},
                reference("GatewayError"),
            ],
        },
        "ClientFrame": {
            "description": "What a client sends in a text frame of at most 32 KB.",
            "oneOf": [reference(each.name) for each in sent],
        },
    }


def _deliveries(options: Schema) -> dict[str, Schema]:
    """Return the schemas of `delivery` for events that go to participants, to users, or wherever presence decides."""
    properties: dict[str, Any] = options["properties"]
    choices = properties["to"]["anyOf"]
    users = {**choices[0], "minItems": 1, "maxItems": MAX_RECIPIENTS}
    few = {"properties": {"to": {"type": ["array", "null"], "maxItems": MAX_ACKNOWLEDGING}}}
    acknowledged = {"properties": {"ack_within": {"type": "integer"}}, "required": ["ack_within"]}
    limit = {"if": acknowledged, "then": few}

    def variant(description: str, to: Schema, **more: Any) -> Schema:
        said = {"to": {"description": "The users who receive it.", **to}}
        return {**options, "description": description, "properties": {**properties, **said}, **more, **limit}

    everyone = {"description": "The users who receive it, or everyone.", "anyOf": [users, choices[1]]}
    return {
        "DeliveryToParticipants": variant(
            "How a call's event is delivered.",
            {"description": "Who receives it in place of both participants.", "anyOf": [users, {"type": "null"}]},
        ),
        "DeliveryToUsers": variant("To whom, and how, the event is delivered.", users, required=["to"]),
        "DeliveryToUsersOrEveryone": variant("To whom, and how, the event is delivered.", everyone, required=["to"]),
        "DeliveryByPresence": {
            "description": "Presence decides who receives the event.",
            "type": "object",
            "properties": {name: properties[name] for name in ("expires_in", "idempotency_key")},
            "additionalProperties": False,
        },
    }


def _backend_event(kind: str, rules: EventType, schemas: dict[str, Schema]) -> dict[str, Schema]:
    """Return the schemas of an event of a backend and of its detail, which is the message's data with `delivery`."""
    if rules.default == "participants":
        delivery = "DeliveryToParticipants"
    elif rules.default == "presence":
        delivery = "DeliveryByPresence"
    else:
        delivery = "DeliveryToUsersOrEveryone" if rules.may_go_to_everyone else "DeliveryToUsers"
    data = schemas[rules.schema.__name__]
    required = [*data.get("required", []), *(["delivery"] if rules.default is None else [])]
    properties = {**data["properties"], "delivery": reference(delivery)}
    if rules.action is not None:
        says = f"What was done, in words. Absent: the usual ones, such as `{rules.action}`."
        properties["action"] = {"description": says, **properties["action"]}
    name, summary = _camel(kind), from_backends.SUMMARIES[kind]
    return {
        f"{name}Detail": {
            "description": summary,
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": True,
        },
        f"{name}Event": _event(kind, summary, f"{name}Detail", {"type": "string", "not": {"const": SOURCE}}),
    }


def _event(kind: str, summary: str, detail: str, source: Schema) -> Schema:
    return {
        "description": summary,
        "type": "object",
        "properties": {"detail-type": {"const": kind}, "source": source, "detail": reference(detail)},
        "required": ["detail-type", "source", "detail"],
        "additionalProperties": True,  # EventBridge adds its own
    }


def _without_unused(schemas: dict[str, Schema]) -> dict[str, Schema]:
    """Leave out the data of backends' events that no message has: their details have all of it."""
    used = {name_of(each.get("properties", {}).get("data", {})) for each in schemas.values()}
    unused = {rules.schema.__name__ for rules in EVENT_TYPES.values()} - used
    return {name: each for name, each in schemas.items() if name not in unused}


def _camel(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))
