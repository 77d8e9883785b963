"""The embedded stack: the service on one machine, with no account and no Docker. Never part of the artifact."""
