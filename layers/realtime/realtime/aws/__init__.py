"""Clients of AWS services, when to try a call again, and what is sent to queues and to the bus."""
