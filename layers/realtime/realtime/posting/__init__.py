"""Posting to connections: what to send, how fast, and what becomes of each answer."""
