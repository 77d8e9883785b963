"""`python -m samsocket`, and the command `samsocket`."""

import click

from samsocket.cli import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run WebSocket APIs of SAM templates on this machine, as API Gateway runs them."""


main.add_command(serve)

if __name__ == "__main__":
    main(prog_name="samsocket")
