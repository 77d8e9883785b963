"""The documents cover the template: a runbook for each alarm, and each table, index and key."""

from __future__ import annotations

import pytest

from tests.cloudformation import ROOT, resources

RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
DATA_MODEL = (ROOT / "docs/data-model.md").read_text(encoding="utf-8")


def test_each_alarm_has_an_entry_in_the_runbook_that_begins_with_a_command() -> None:
    sections = RUNBOOK.split("\n### ")[1:]
    assert {section.split("\n")[0] for section in sections if "Alarm\n" in section} == set(
        resources("AWS::CloudWatch::Alarm")
    )
    for section in sections:
        if section.split("\n")[0].endswith("Alarm"):
            assert section.split("\n")[2].startswith("`realtime "), section


@pytest.mark.parametrize("table", resources("AWS::DynamoDB::Table"))
def test_the_data_model_has_a_section_for_each_table_with_its_keys_and_indexes(table: str) -> None:
    properties = resources("AWS::DynamoDB::Table")[table]
    section = DATA_MODEL.split(f"\n## {table.removesuffix('Table')}\n")[1].split("\n## ")[0]
    for index in properties.get("GlobalSecondaryIndexes", ()):
        assert f"**{index['IndexName']}**" in section
    for attribute in properties["AttributeDefinitions"]:
        assert f"`{attribute['AttributeName']}`" in section
