"""Views: what many clients ask for, made once for all of them and kept in the Events table for seconds.

A view has a head, which says what was made last, and rows in parts, which are never changed: each making has a new id.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from realtime.aws.clients import aws_errors
from realtime.tables.dynamodb import attribute, item, plain, update_if, write_all
from realtime.tables.events import view_head_key, view_part_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A partition key carries 3,000 read units a second, so a part can be read about 460 times a second.
_PART_BYTES = 50_000
# An instance that found a making in the head reads it within seconds.
_ROWS_TTL_SECONDS = 600
_HEAD_TTL_SECONDS = 86_400

Part = Literal["base", "tail"]
# Older code claims both parts by the name that is the tail's now: beside it, two instances may make the same part.
_CLAIMS: Mapping[Part, str] = {"base": "base_claimed_until", "tail": "claimed_until"}


@dataclass(frozen=True, slots=True)
class Made:
    """Rows that were made: where they are. They have all that was recorded before `begun_ms` (since the epoch)."""

    view_id: str
    begun_ms: int
    parts: int


@dataclass(frozen=True, slots=True)
class Head:
    """The state of a view; times in ms since the epoch, 0 if there was none."""

    users: int | None = None  # how many it showed when it was last made
    base: Made | None = None
    step: Made | None = None  # how the base differs from the one before, whose id is `step_from`
    step_from: str = ""
    tail: Made | None = None  # what has changed since the base
    base_claimed_until_ms: int = 0  # somebody is making a base, and has until then
    claimed_until_ms: int = 0  # likewise a tail
    claimed_at_ms: int = 0
    awaited_at_ms: int = 0  # since when somebody waits for a part that is being made

    @property
    def begun_ms(self) -> int:
        """The time before which nothing was recorded that it lacks."""
        made = self.tail or self.base
        return made.begun_ms if made else 0


class Views:
    """The views in the Events table; `name` is what a view shows."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def head(self, name: str) -> Head | None:
        """Return a view's head, or None if it was not made for a day; it may be some milliseconds old."""
        with aws_errors("reading a view"):
            answer = self._client.get_item(TableName=self._table, Key=view_head_key(name))
        return _read_head(plain(answer["Item"])) if "Item" in answer else None

    def claim(self, name: str, part: Part, now_ms: int, until_ms: int) -> bool:
        """Claim to make a part of a view until a time; return False if somebody else has claimed it."""
        claim = _CLAIMS[part]
        return self._update(
            name,
            {claim: until_ms, "claimed_at": now_ms, "expires_at": now_ms // 1000 + _HEAD_TTL_SECONDS},
            f"attribute_not_exists({claim}) OR {claim} < :now",
            {":now": now_ms},
        )

    def wait_for(self, name: str, now_ms: int) -> None:
        """Say that somebody waits for what is being made."""
        self._update(name, {"awaited_at": now_ms}, "attribute_exists(claimed_at)", {})

    def release(self, name: str, part: Part, until_ms: int, users: int | None = None) -> None:
        """Give up the claim that ends then; note how many users the view would show, if that is known."""
        self._settle(name, part, {} if users is None else {"users": users}, until_ms)

    def publish_base(self, name: str, users: int, base: Made, step: Made | None, step_from: str, until_ms: int) -> bool:
        """Show a base, which has no tail yet, made under the claim that ends then; return False if that was lost.

        It ends the claim of whoever makes a tail: that would belong to the base before.
        """
        made = {**_as_values("base", base), **_as_values("step", step), **_as_values("tail", None)}
        no_tail = {"users": users, "step_from": step_from, **made, _CLAIMS["tail"]: 0}
        return self._settle(name, "base", no_tail, until_ms)

    def publish_tail(self, name: str, tail: Made, until_ms: int) -> bool:
        """Show a tail that was made under the claim that ends then; return False if the claim was lost meanwhile."""
        return self._settle(name, "tail", _as_values("tail", tail), until_ms)

    def write(self, rows: bytes, begun_ms: int) -> Made:
        """Store rows, in parts."""
        view_id = uuid.uuid4().hex
        expires_at_s = begun_ms // 1000 + _ROWS_TTL_SECONDS
        parts = [rows[start : start + _PART_BYTES] for start in range(0, len(rows), _PART_BYTES)] or [b""]
        items = [
            {**view_part_key(view_id, number), "rows": {"B": part}, **item({"expires_at": expires_at_s})}
            for number, part in enumerate(parts)
        ]
        write_all(self._client, self._table, [{"PutRequest": {"Item": each}} for each in items])
        return Made(view_id, begun_ms, len(items))

    def read(self, made: Made) -> bytes | None:
        """Return the rows of a making, or None if a part of them is not there any more."""
        parts: list[bytes] = []
        for number in range(made.parts):
            part = self._part(view_part_key(made.view_id, number))
            if part is None:
                return None
            parts.append(part)
        return b"".join(parts)

    def _part(self, key: dict[str, Any]) -> bytes | None:
        for is_consistent in (False, True):  # it may have been written just now
            with aws_errors("reading a view"):
                answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=is_consistent)
            if "Item" in answer:
                return bytes(answer["Item"]["rows"]["B"])
        return None

    def _settle(self, name: str, part: Part, values: Mapping[str, str | int], until_ms: int) -> bool:
        claim = _CLAIMS[part]
        return self._update(name, {**values, claim: 0}, f"{claim} = :until", {":until": until_ms})

    def _update(self, name: str, values: Mapping[str, str | int], condition: str, more: Mapping[str, int]) -> bool:
        names = {f"#{number}": each for number, each in enumerate(values)}
        update = {
            "TableName": self._table,
            "Key": view_head_key(name),
            "UpdateExpression": "SET " + ", ".join(f"#{number} = :{number}" for number in range(len(values))),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                **{f":{number}": attribute(value) for number, value in enumerate(values.values())},
                **item(more),
            },
        }
        return update_if(self._client, "updating a view", update)


def _as_values(name: str, made: Made | None) -> dict[str, str | int]:
    made = made or Made("", 0, 0)
    return {f"{name}_id": made.view_id, f"{name}_begun": made.begun_ms, f"{name}_parts": made.parts}


def _read_head(values: Mapping[str, Any]) -> Head:
    base, step, tail = (
        Made(values[f"{name}_id"], values[f"{name}_begun"], values[f"{name}_parts"])
        if values.get(f"{name}_id")
        else None
        for name in ("base", "step", "tail")
    )
    return Head(
        users=values.get("users"),
        base=base,
        step=step,
        step_from=values.get("step_from", ""),
        tail=tail,
        base_claimed_until_ms=values.get(_CLAIMS["base"], 0),
        claimed_until_ms=values.get(_CLAIMS["tail"], 0),
        claimed_at_ms=values.get("claimed_at", 0),
        awaited_at_ms=values.get("awaited_at", 0),
    )
