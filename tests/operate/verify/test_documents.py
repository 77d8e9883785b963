"""docs/verify.md says which line asks each unknown of our documents, and which rights verify needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from operate.state import ROOT
from operate.verify.command import SCENES, selected_scenes

VERIFY = (ROOT / "docs/verify.md").read_text(encoding="utf-8")
KEYS = [key for scene in SCENES for key in scene.lines]
SERVICES = {"apigatewayv2": "apigateway", "service-quotas": "servicequotas", "cloudformation": "cloudformation"}
ACTIONS = {  # where an action is not its operation's name
    "apigateway:GetRoutes": "apigateway:GET",
    "apigateway:GetRouteResponses": "apigateway:GET",
    "apigateway:GetApiMappings": "apigateway:GET",
    "apigateway:CreateApiMapping": "apigateway:POST",
    "apigateway:DeleteApiMapping": "apigateway:DELETE",
    "cloudwatch:GetMetricStatistics": "cloudwatch:GetMetricStatistics",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
}


def not_known() -> list[str]:
    """The items that docs/conformance.md calls not known."""
    text = (ROOT / "docs/conformance.md").read_text(encoding="utf-8")
    section = text.split("\n## Not known\n")[1].split("\n## ")[0]
    return [" ".join(item.split()) for item in re.findall(r"^- (.+?)(?=^- |\Z)", section, re.MULTILINE | re.DOTALL)]


def asked() -> dict[str, str]:
    """The unknowns in docs/verify.md, each with the line that asks it."""
    section = VERIFY.split("\n## What our documents call not known")[1]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return {what: how for what, how in rows if what != "not known" and not set(what) <= {"-", " "}}


@pytest.mark.parametrize("item", not_known())
def test_every_unknown_of_the_conformance_page_has_a_question_or_a_reason(item: str) -> None:
    assert [what for what in asked() if item.startswith(what)], item


@pytest.mark.parametrize(("what", "how"), asked().items())
def test_a_line_asks_each_open_point_or_a_reason_says_why_not(what: str, how: str) -> None:
    keys = re.findall(r"`(question\.[\w-]+)`", how)
    assert set(keys) <= set(KEYS)
    assert keys or re.search(r"not asked: \S+ \S+", how), what


def test_every_question_is_in_the_document() -> None:
    assert {key for key in KEYS if key.startswith("question.")} == set(re.findall(r"`(question\.[\w-]{2,})`", VERIFY))


def test_every_kind_of_line_is_in_the_document() -> None:
    for kind in {key.split(".")[0] for key in KEYS}:
        assert f"\n| `{kind}` |" in VERIFY


def called() -> Iterator[str]:
    """The actions of all calls that verify makes."""
    for module in sorted((ROOT / "operate/verify").glob("*.py")):
        text = module.read_text(encoding="utf-8")
        for service, operation in re.findall(r'\.call\(\s*"([\w-]+)",\s*"(\w+)"', text):
            name = "".join(part.capitalize() for part in operation.split("_"))
            action = f"{SERVICES.get(service, service)}:{name}"
            yield ACTIONS.get(action, action)


def test_every_call_is_allowed_by_the_policy_in_the_document() -> None:
    policy = json.loads(VERIFY.split("```json\n")[1].split("```")[0])
    allowed: set[str] = set()
    for statement in policy["Statement"]:
        actions = statement["Action"]
        allowed |= set([actions] if isinstance(actions, str) else actions)
    needed = set(called())
    assert len(needed) > 25
    assert needed - allowed == set()


def test_each_key_is_in_one_scene_and_every_need_is_a_key() -> None:
    assert len(KEYS) == len(set(KEYS))
    assert {need for scene in SCENES for need in scene.needs} <= set(KEYS)


def test_a_chosen_line_brings_the_scenes_that_it_needs() -> None:
    names = {scene.name for scene in selected_scenes(["talk.ack"])}
    assert {"acknowledge", "bus", "door", "tokens", "outputs"} <= names
    assert "presence" not in names
    assert selected_scenes([]) == SCENES
