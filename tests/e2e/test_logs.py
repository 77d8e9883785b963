"""The logs; conftest.py runs this module last, so that it checks the logs of all other tests."""

from __future__ import annotations

import re

from harness.stack import Stack

JWT = re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*")


async def test_no_token_is_in_any_log(stack: Stack) -> None:
    user = stack.new_user()
    async with stack.connect("feed", user, query={"types": "listener_online"}):
        pass
    logs = stack.logs()
    for part in (
        '"connected"',
        f'"{user}"',
        "samsocket.access",
        "EventBridge",
        "Successfully created/updated stack",
    ):
        assert part in logs, "the logs of some part are missing"
    assert not JWT.findall(logs)
    signatures = {token.rpartition(".")[2] for token in stack.issued} - {""}
    assert signatures
    assert not [signature for signature in signatures if signature in logs]
