"""The console script `realtime`."""

import click


@click.group()
def main() -> None:
    """Run the embedded stack and talk to it."""
