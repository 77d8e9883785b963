"""The claims of the token with which a client connects; `tokens` verifies them."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from realtime.backend_events import Id, Name


class TokenClaims(TypedDict):
    """The payload of a signed JWT (HS256, RS256 or ES256); other claims are ignored."""

    sub: Annotated[Id, Meta(description="The user's id.")]
    exp: Annotated[int, Meta(description="When the token expires, in seconds since the epoch.")]
    iat: NotRequired[Annotated[int, Meta(description="When it was issued. A revocation refuses those issued before.")]]
    nbf: NotRequired[Annotated[int, Meta(description="From when on it is good.")]]
    username: NotRequired[Annotated[Name | None, Meta(description="The name that others see.")]]
    role: NotRequired[Annotated[Name | None, Meta(description="Users with the role `listener` are announced on feed.")]]
    scope: NotRequired[
        Annotated[
            str | list[str] | None,
            Meta(
                description="The endpoints that it is good for, separated by spaces or in a list; absent: all. "
                "With the word `status` its user may set their own status."
            ),
        ]
    ]
    iss: NotRequired[Annotated[str, Meta(description="Must equal the stack's TokenIssuer, where it demands one.")]]
    aud: NotRequired[
        Annotated[str | list[str], Meta(description="Must have the stack's TokenAudience, where it demands one.")]
    ]
