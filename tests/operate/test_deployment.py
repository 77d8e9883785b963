"""Access keys of the embedded stack."""

from __future__ import annotations

import re

from operate.deployment import new_access_key


def test_an_access_key_has_the_form_of_awss_own() -> None:
    access_key, secret = new_access_key()
    assert re.fullmatch("AKIA[A-Z2-7]{16}", access_key)
    assert len(secret) == 40


def test_each_run_has_another_access_key() -> None:
    assert len({part for _ in range(100) for part in new_access_key()}) == 200
