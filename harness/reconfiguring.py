"""Gives a deployed function other settings for a while, by another version of it, as another deployment would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.stack import Stack


@contextmanager
def reconfigured(stack: Stack, function: str, **variables: str) -> Iterator[None]:
    """Run a function, such as `Connect`, with other environment variables."""
    client, name = stack.aws("lambda"), stack.outputs[f"{function}FunctionName"]
    before = client.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    environment = client.get_function_configuration(FunctionName=name, Qualifier=before)["Environment"]["Variables"]
    client.update_function_configuration(FunctionName=name, Environment={"Variables": environment | variables})
    version = client.publish_version(FunctionName=name)["Version"]
    client.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    try:
        yield
    finally:
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=before)
        client.update_function_configuration(FunctionName=name, Environment={"Variables": environment})
        client.delete_function(FunctionName=name, Qualifier=version)
