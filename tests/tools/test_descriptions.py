"""The layer's copies of service descriptions are botocore's own, as far as we use them."""

from __future__ import annotations

from pathlib import Path

import botocore.session
import pytest

from realtime.aws import clients
from tools import descriptions


@pytest.mark.parametrize("path", descriptions.written(), ids=lambda path: path.parts[-3])
def test_the_copy_in_the_layer_is_what_botocore_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == descriptions.written()[path], "make lock writes it anew"


@pytest.mark.parametrize("service", descriptions.OPERATIONS)
def test_a_client_is_made_of_the_copy(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DEFAULT_REGION", "us-east-1"), ("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    clients.session.cache_clear()
    clients.client.cache_clear()
    lean = clients.client(service).meta.service_model
    whole = botocore.session.get_session().get_service_model(service)
    assert set(lean.operation_names) == set(descriptions.OPERATIONS[service])
    for name in lean.operation_names:
        ours, theirs = (model.operation_model(name).input_shape for model in (lean, whole))
        assert ours is not None
        assert theirs is not None
        assert ours.members.keys() == theirs.members.keys()
    clients.session.cache_clear()
    clients.client.cache_clear()


def test_shapes_that_another_shape_refers_to_are_kept_and_texts_are_not() -> None:
    description = {
        "metadata": {"protocol": "json"},
        "documentation": "long",
        "operations": {
            "Get": {"input": {"shape": "In"}, "documentation": "long"},
            "Put": {"input": {"shape": "Other"}},
        },
        "shapes": {
            "In": {"type": "structure", "members": {"documentation": {"shape": "Text", "documentation": "long"}}},
            "Text": {"type": "string", "documentation": "long"},
            "Other": {"type": "string"},
        },
    }
    assert descriptions.lean(description, ["Get"]) == {
        "metadata": {"protocol": "json"},
        "operations": {"Get": {"input": {"shape": "In"}}},
        "shapes": {
            "In": {"type": "structure", "members": {"documentation": {"shape": "Text"}}},
            "Text": {"type": "string"},
        },
    }
