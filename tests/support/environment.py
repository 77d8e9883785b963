"""The environment in which Lambda runs a function, as far as what was made in it stays until it ends."""

from __future__ import annotations

from realtime import bootstrap


def new_environment() -> None:
    """Forget what a function's process had made."""
    for made in vars(bootstrap).values():
        if hasattr(made, "cache_clear"):
            made.cache_clear()
