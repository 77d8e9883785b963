"""`python -m local.gateway`."""

from local.gateway.cli import main

main()
