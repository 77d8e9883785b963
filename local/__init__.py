"""The embedded stack: the service on one machine, without an AWS account or Docker. It is never deployed."""
