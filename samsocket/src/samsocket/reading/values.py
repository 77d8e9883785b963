"""The values of one API's resources, and notes of those that cannot be worked out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from samsocket.errors import UnresolvedError

if TYPE_CHECKING:
    from samsocket.resolver import Resolver
    from samsocket.template import Resource, Stack, Template

_T = TypeVar("_T")

RAW: Final = "AWS::ApiGatewayV2::"


class Values:
    """Works out the properties of the resources that belong to one API; `notes` say what cannot be worked out."""

    def __init__(self, template: Template, stack: Stack, resolver: Resolver, api: Resource) -> None:
        """Take an API that is deployed."""
        self.template, self.stack, self.resolver, self.api = template, stack, resolver, api
        self.api_id = str(resolver.physical_id(api.logical_id))
        self.notes: list[str] = []

    def resolve(self, value: Any) -> Any:
        """Return a value with all intrinsic functions in it replaced.

        Raises:
            UnresolvedError: one of them cannot be worked out.
        """
        return self.resolver.resolve(value)

    def note(self, resource: Resource, text: str) -> None:
        """Note what AWS or the gateway does not serve of a resource."""
        self.notes.append(f"{resource.logical_id} ({resource.type}): {text}")

    def attempt(self, resource: Resource, read: Callable[[], _T], otherwise: _T) -> _T:
        """Read a value; `otherwise`, and a note, if it cannot be worked out."""
        try:
            return read()
        except UnresolvedError as error:
            self.note(resource, str(error))
            return otherwise

    def known(self, resource: Resource, key: str, default: Any = None) -> Any:
        """Return a property's value; `default`, and a note, if it cannot be worked out."""
        return self.attempt(resource, lambda: self.get(resource, key, default), default)

    def text(self, resource: Resource, properties: Mapping[str, Any], key: str, default: str) -> str:
        """Return a text of a resource's properties; `default`, and a note, if it cannot be worked out."""
        return self.attempt(resource, lambda: str(self.resolve(properties.get(key)) or default), default)

    def get(self, resource: Resource, key: str, default: Any = None) -> Any:
        """Return a property's value; where it cannot be worked out, the value that the emulator shows.

        Raises:
            UnresolvedError: the emulator shows none either.
        """
        try:
            value = self.resolve(resource.properties.get(key))
        except UnresolvedError:
            shown = self.stack.shown.get(self.resolver.physical_id(resource.logical_id) or "", {})
            if key not in shown:
                raise
            value = shown[key]
        return default if value is None else value

    def deployed(self, kind: str) -> list[Resource]:
        """Return the resources of a kind that belong to the API and whose condition is true."""
        return [
            resource
            for resource in self.template.of_type(RAW + kind)
            if self.attempt(resource, partial(self._belongs, resource), otherwise=False)
        ]

    def _belongs(self, resource: Resource) -> bool:
        return self.resolver.holds(resource.condition) and self.resolve(resource.properties.get("ApiId")) == self.api_id


def is_true(value: Any) -> bool:
    """Return whether a property says true; CloudFormation takes the text, too."""
    return str(value).lower() == "true"


def number(value: Any) -> float:
    """Return a number; CloudFormation takes the text, too.

    Raises:
        UnresolvedError: it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UnresolvedError(f"the number {value}") from error


def texts(value: Any) -> dict[str, str]:
    """Return a map of texts; empty for None.

    Raises:
        UnresolvedError: it is no map.
    """
    if not isinstance(value, Mapping | None):
        raise UnresolvedError(f"the map {value}")
    return {str(key): str(text) for key, text in (value or {}).items()}
