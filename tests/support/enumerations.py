"""Refuses a value that AWS's own description of an API does not list: botocore sends any, and moto accepts many."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape


def check(service: str, operation: str, params: Mapping[str, Any]) -> None:
    """Check the parameters of a call; `operation` as its client's method is called, such as `put_item`.

    Raises ClientError, a ValidationException, as AWS answers.
    """
    shape = _operations(service)[operation].input_shape
    if shape is not None:
        _check(operation, shape, params)


def _check(operation: str, shape: Shape, value: Any) -> None:
    if not _has_any(shape):
        return
    if isinstance(shape, StructureShape):
        for name, each in value.items():
            if name in shape.members:
                _check(operation, shape.members[name], each)
    elif isinstance(shape, ListShape):
        for each in value:
            _check(operation, shape.member, each)
    elif isinstance(shape, MapShape):
        for each in value.values():
            _check(operation, shape.value, each)
    elif isinstance(shape, StringShape) and value not in shape.enum:
        message = f"{value} is not one of {', '.join(shape.enum)}"
        raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)


_KNOWN: dict[tuple[int, str], bool] = {}  # by a shape's identity; while it is looked at, that it has none


def _has_any(shape: Shape) -> bool:
    """Return whether a shape or a part of it has listed values."""
    key = (id(shape._shape_resolver), shape.name)  # type: ignore[attr-defined]
    if key not in _KNOWN:
        _KNOWN[key] = False
        parts: list[Shape] = []
        if isinstance(shape, StructureShape):
            parts = list(shape.members.values())
        elif isinstance(shape, ListShape):
            parts = [shape.member]
        elif isinstance(shape, MapShape):
            parts = [shape.value]
        _KNOWN[key] = bool(getattr(shape, "enum", None)) or any(map(_has_any, parts))
    return _KNOWN[key]


@cache
def _operations(service: str) -> Mapping[str, OperationModel]:
    """Return what botocore knows of a service: our own clients have descriptions without listed values."""
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}
