"""The service accepts the tokens for trials with any of its settings."""

from __future__ import annotations

import pytest

from operate.tokens import new_secret, sign
from realtime.errors import AuthFailed
from realtime.tokens import Tokens


class Keys:
    """One shared secret, without an id."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def candidates(self, kid: str | None) -> list[str]:
        return [self.secret]


def test_a_token_has_the_issuer_and_the_audience_that_a_stack_asks_for() -> None:
    secret = new_secret()
    tokens = Tokens(Keys(secret), None, max_seconds=86_400, issuer="us", audience="them")
    token = sign({None: secret}, "5", username="jane", role="listener", scope="feed", issuer="us", audience="them")
    identity = tokens.verify(token)
    assert (identity.user_id, identity.username, identity.role) == ("5", "jane", "listener")
    assert identity.endpoints == {"feed"}
    with pytest.raises(AuthFailed):
        tokens.verify(sign({None: secret}, "5"))
