"""What holds the items of the integration tests to docs/data-model.md refuses what is not there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import data_model

BEGIN, END = 1000, 2000
EXPIRY = {"expires_at": {"N": "5600"}}


def key(audience: str, event_id: str = "-") -> dict[str, Any]:
    return {"audience": {"S": audience}, "event_id": {"S": event_id}}


CALL = {**key("call/7"), "participants": {"SS": ["1", "2"]}, "recorded_0a": {"S": "x"}, **EXPIRY}
ENTRY = {**key("calls/1", "0a"), "reach": {"S": "narrow"}, "kind": {"S": "call_ended"}, "not_after": {"N": "9"}}


@pytest.mark.parametrize(
    ("table", "item"),
    [
        ("Events", CALL),
        ("Events", {**key("view/presence/*/0"), "base_id": {"S": "x"}, **EXPIRY}),
        ("Events", {**key("ingested/x", "4"), **EXPIRY}),
        ("Events", {**ENTRY, **EXPIRY}),
        ("Users", {"user_id": {"S": "1"}, "version": {"N": "4"}, "shown_to": {"SS": ["1"]}}),
        ("Blocks", {"list_name": {"S": "blocked-by/1"}, "part": {"S": "7"}, "user_ids": {"SS": ["1"]}}),
    ],
)
def test_an_item_as_the_page_has_it_passes(table: str, item: dict[str, Any]) -> None:
    data_model.check(table, [item], BEGIN, END)


@pytest.mark.parametrize(
    ("table", "item", "why"),
    [
        ("Events", {**key("occupancies"), "users": {"N": "1"}, **EXPIRY}, "`audience` of type S"),  # a key of no kind
        ("Events", {**key("ingested/x", "four"), "at_ms": {"N": "4"}, **EXPIRY}, "`at_ms` of type N"),  # another kind's
        ("Events", {**CALL, "started": {"N": "1"}}, "`started` of type N"),
        ("Events", {**CALL, "expires_at": {"N": "5600000"}}, "expires at 5600000"),  # ms, not s
        ("Events", ENTRY, "expires at 0"),
        ("Events", {**ENTRY, **EXPIRY, "close": {"S": "true"}}, "`close` of type S"),
        ("Users", {"user_id": {"S": "1"}, "versions": {"N": "4"}}, "`versions` of type N"),
        ("Blocks", {"list_name": {"S": "blockers-of/1"}, "part": {"S": "7"}, "user_ids": {"SS": ["1"]}}, "`user_ids`"),
    ],
)
def test_what_the_page_does_not_have_is_named(table: str, item: dict[str, Any], why: str) -> None:
    with pytest.raises(data_model.NotDocumentedError, match=why):
        data_model.check(table, [item], BEGIN, END)
