"""Code that tests and benchmarks share: a running embedded stack with its clients, and a fake management API.

With it, tests and `bench` do not import each other.
"""
