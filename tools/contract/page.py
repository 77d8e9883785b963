"""The page docs/protocol.md: the contract, to be read."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from realtime.backend_events import MAX_ACKNOWLEDGING
from realtime.messages import TYPES
from tools.contract import examples
from tools.contract.definition import SOURCE, Contract, Said
from tools.contract.documents import ANSWERS
from tools.contract.schemas import SHARED, Schema, name_of
from tools.contract.types import Language

_COLUMNS = 100
_ENGLISH = Language(
    words={"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null", None: "anything"},
    literals=lambda values: " or ".join(f"`{json.dumps(each)}`" for each in values),
    array=lambda inner: f"list of {inner}",
    mapping=lambda values: "object" if values == "anything" else f"object of {values}",
    either=" or ",
)
_INTRODUCTION = """\
All messages, frames, events and claims, with their keys. This page, [the AsyncAPI \
document](../contract/asyncapi.yaml), [the JSON Schemas](../contract/schemas) and the types of the clients are made \
of the same types, by `python -m tools.contract`; a test fails if one of them is old.

The original contract, [api.md](api.md), wins over this page; [clients.md](clients.md) names the two exceptions, and \
says with [backends.md](backends.md) what to do with all of it. Ignore types and keys that you do not know: later \
versions may add some, and take none away."""


def page(contract: Contract) -> str:
    """Return the text of the page."""
    return "\n\n".join(_Page(contract).blocks()) + "\n"


class _Page:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._schemas = {**contract.schemas, **contract.of_admin}

    def blocks(self) -> Iterator[str]:
        yield "<!-- Written by `python -m tools.contract`: do not edit. -->"
        yield "# The protocol"
        yield from (_wrapped(each) for each in _INTRODUCTION.split("\n\n"))
        yield from self._values()
        yield from self._received()
        yield from self._sent()
        yield from self._connecting()
        yield from self._from_backends()
        yield from self._to_backends()
        yield from self._admin()

    def _values(self) -> Iterator[str]:
        yield "## Values"
        rows = [(name, self._schemas[name]["description"], _bare(self._schemas[name])) for name in SHARED]
        yield _table(("name", "meaning", ""), rows)

    def _received(self) -> Iterator[str]:
        yield "## What clients receive"
        yield _wrapped(
            "A text frame holds one message. With `batch=true`, and after `resume` with a position, it may hold an "
            "array of messages. Of the positions of one name, only the last of an array is in it: before it they are "
            "empty."
        )
        yield self._envelope()
        for endpoint, kinds in TYPES.items():
            yield f"### On {endpoint}, and on live"
            yield from self._messages([each for each in self._contract.received if each.kind in kinds])
        yield "### On all endpoints"
        own = [each for each in self._contract.received if not any(each.kind in kinds for kinds in TYPES.values())]
        yield _wrapped(
            "`snapshot`, `stale` and `occupancy` come on feed, presence and live only; `history_page` on calls, "
            "notifications and live."
        )
        yield from self._messages(own)
        yield "### Errors of API Gateway"
        yield _wrapped(self._schemas["GatewayError"]["description"])
        yield self._keys(self._schemas["GatewayError"])

    def _envelope(self) -> str:
        received = self._contract.received
        keys: dict[str, list[Said]] = {}
        for each in received:
            for key in self._schemas[each.name]["properties"]:
                keys.setdefault(key, []).append(each)
        rows = []
        for key, having in keys.items():
            sample = self._schemas[having[0].name]["properties"][key]
            always = all(key in self._schemas[each.name]["required"] for each in having)
            what = {"type": "text", "data": "object"}.get(key) or _ENGLISH.type_of(sample)
            rows.append((f"`{key}`", what, _who(having, received, always=always), self._says(sample)))
        return _table(("key", "value", "in", ""), rows)

    def _messages(self, saids: Sequence[Said]) -> Iterator[str]:
        yield _table(("type", "when"), [(f"`{each.kind}`", self._schemas[each.name]["description"]) for each in saids])
        yield from self._data(saids)
        yield _code(examples.RECEIVED[each.kind] for each in saids)

    def _data(self, saids: Sequence[Said]) -> Iterator[str]:
        """Yield the keys of the data, once for the messages that have the same."""
        by_data: dict[str, list[str]] = {}
        for each in saids:
            if name := name_of(self._schemas[each.name]["properties"]["data"]):
                by_data.setdefault(name, []).append(each.kind)
        for name, kinds in by_data.items():
            yield from self._table_of(f"`data` of {_listed(kinds)}", self._schemas[name])

    def _table_of(self, heading: str, schema: Schema) -> Iterator[str]:
        if schema.get("properties"):
            more = "; it may have more keys" if schema.get("additionalProperties") is True else ""
            yield _wrapped(f"{heading}{more}:")
            yield self._keys(schema)
            for each in schema["properties"].values():  # what only this schema has inside
                for name in (name_of(each), name_of(each.get("items", {}))):
                    if name and name not in SHARED and not name.startswith("Delivery"):
                        yield from self._table_of(f"Each of {name}", self._schemas[name])

    def _keys(self, schema: Schema) -> str:
        required = schema.get("required", [])
        rows = []
        for key, each in schema["properties"].items():
            name = name_of(each) or ""
            target = f"[{name}](#{name.lower()})" if name.startswith("Delivery") else _type(each)
            rows.append((f"`{key}`", target, "" if key in required else "optional", self._says(each)))
        return _table(("key", "value", "", ""), rows)

    def _says(self, schema: Schema) -> str:
        name = name_of(schema)
        if "description" in schema or name is None or name in SHARED:
            return str(schema.get("description", ""))
        return str(self._schemas[name]["description"]) if name.startswith("Delivery") else ""

    def _sent(self) -> Iterator[str]:
        yield "## What clients send"
        yield _wrapped("A text frame of at most 32 KB with one JSON object. Each is answered; a wrong one by `error`.")
        rows = []
        for each in self._contract.sent:
            where = "all" if len(each.stages) > 3 else _listed(each.stages, code=False)
            answers = [kind for kind in ANSWERS[each.kind] if kind != "Messages"]
            kinds = [said.kind for said in self._contract.received if said.name in answers]
            rows.append((f"`{each.kind}`", where, self._schemas[each.name]["description"], _listed(kinds)))
        yield _table(("type", "on", "", "answer"), rows)
        yield from self._data(self._contract.sent)
        yield _wrapped("`resume` needs one of the two. A frame may have a `timestamp`, which is not read.")
        yield _code(examples.SENT[each.kind] for each in self._contract.sent)

    def _connecting(self) -> Iterator[str]:
        yield "## Connecting"
        yield _wrapped("Query parameters of the URL:")
        yield self._keys(self._schemas["Parameters"])
        yield _wrapped("Claims of the token, a JWT (HS256; RS256 or ES256 where the stack has a `JwksUrl`):")
        yield self._keys(self._schemas["TokenClaims"])
        yield _code([examples.TOKEN])

    def _from_backends(self) -> Iterator[str]:
        yield "## What backends send"
        yield _wrapped(f"Events on the bus, with any source but `{SOURCE}`.")
        said = self._contract.from_backends
        yield _table(
            ("detail-type", ""), [(f"`{each.kind}`", self._schemas[each.name]["description"]) for each in said]
        )
        by_keys: dict[str, list[Said]] = {}
        for each in said:
            detail = self._detail(each)
            by_keys.setdefault(f"{sorted(detail['properties'])} {detail.get('required')}", []).append(each)
        for same in by_keys.values():
            yield from self._table_of(f"`detail` of {_listed(each.kind for each in same)}", self._detail(same[0]))
        for name in [name for name in self._schemas if name.startswith("Delivery")]:
            yield f"### {name}"
            yield _wrapped(self._schemas[name]["description"])
            yield self._keys(self._schemas[name])
        yield _wrapped(f"With `ack_within`, an event goes to at most {MAX_ACKNOWLEDGING} users, and not to everyone.")
        yield _code({"detail-type": each.kind, "detail": examples.FROM_BACKENDS[each.kind]} for each in said)

    def _detail(self, said: Said) -> Schema:
        return self._schemas[str(name_of(self._schemas[said.name]["properties"]["detail"]))]

    def _to_backends(self) -> Iterator[str]:
        yield "## What backends receive"
        yield _wrapped(f"Events on the bus with the source `{SOURCE}`. One may come twice, with the same `id`.")
        said = self._contract.to_backends
        yield _table(
            ("detail-type", ""), [(f"`{each.kind}`", self._schemas[each.name]["description"]) for each in said]
        )
        by_detail: dict[str, list[str]] = {}
        for each in said:
            by_detail.setdefault(str(name_of(self._schemas[each.name]["properties"]["detail"])), []).append(each.kind)
        for name, kinds in by_detail.items():
            yield from self._table_of(f"`detail` of {_listed(kinds)}", self._schemas[name])
        yield _code({"detail-type": each.kind, "detail": examples.TO_BACKENDS[each.kind]} for each in said)

    def _admin(self) -> Iterator[str]:
        yield "## What the function admin is asked"
        yield _wrapped("The payload of an invocation; the right to invoke it is IAM's.")
        said = self._contract.asked
        yield _table(("action", ""), [(f"`{each.kind}`", self._schemas[each.name]["description"]) for each in said])
        for each in said:
            yield from self._table_of(f"`{each.kind}`", self._schemas[each.name])
        yield _wrapped("`disconnect` needs one of `user_id` and `connection_id`.")
        yield _code(examples.ASKED[each.kind] for each in said)
        yield "### What it answers"
        for name in self._contract.answered:
            says = self._schemas[name]["description"]
            yield from self._table_of(says.removesuffix("."), self._schemas[name])
        yield _code(examples.ANSWERED.values())


def _bare(schema: Schema) -> str:
    """Return what a shared value is, without its name."""
    kind = _ENGLISH.type_of({key: value for key, value in schema.items() if key != "description"})
    return f"{kind}: `{schema['pattern']}`" if "pattern" in schema else kind


def _type(schema: Schema) -> str:
    """Return a key's type, with the limits of its size."""
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    kind = _ENGLISH.type_of(schema)
    if "maxItems" in schema:
        return kind.replace("list of ", f"list of {schema.get('minItems', 0)} to {schema['maxItems']} ")
    if "maximum" in schema:
        lowest = schema["exclusiveMinimum"] + 1 if "exclusiveMinimum" in schema else schema["minimum"]
        return f"{kind} from {lowest} to {schema['maximum']:,}"
    return kind


def _who(having: Sequence[Said], everyone: Sequence[Said], *, always: bool) -> str:
    if len(having) == len(everyone):
        return "all"
    if len(having) > 5:
        groups = [endpoint for endpoint, kinds in TYPES.items() if kinds <= {each.kind for each in having}]
        rest = [each.kind for each in having if not any(each.kind in TYPES[group] for group in groups)]
        text = f"those of {_listed(groups, code=False)}" + (f"; {_listed(rest)}" if rest else "")
    else:
        text = _listed(each.kind for each in having)
    return text if always else f"some: {text}"


def _listed(words: Iterable[str], *, code: bool = True) -> str:
    shown = [f"`{word}`" if code else word for word in words]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *escaped]
    return "\n".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|" for line in lines)


def _code(values: Iterable[object]) -> str:
    lines = "\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    return f"```json\n{lines}\n```"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)
