"""CloudFormation's resource schemas, as cfn-lint ships them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

_PROPERTIES: Final = "/properties/"


@cache
def schema(kind: str) -> dict[str, Any]:
    """The schema of a resource type, such as AWS::SQS::Queue.

    Raises:
        cfnlint's ResourceNotFoundError: there is no such type.
    """
    found: dict[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return found


def _top_level(kind: str, key: str) -> frozenset[str]:
    paths: list[str] = schema(kind).get(key) or []
    return frozenset(path.removeprefix(_PROPERTIES).split("/")[0] for path in paths)


@cache
def create_only(kind: str) -> frozenset[str]:
    """The properties that cannot be changed in place: another value makes another resource."""
    return _top_level(kind, "createOnlyProperties")


@cache
def naming(kind: str) -> frozenset[str]:
    """The properties that are, or are part of, a resource's physical name."""
    own = _top_level(kind, "primaryIdentifier") | create_only(kind)
    return frozenset(name for name in own - _top_level(kind, "readOnlyProperties") if name.endswith("Name"))
