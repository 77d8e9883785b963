"""Clients of AWS services, the rules for trying a call again, and what is sent to queues and to the bus."""
