"""Rules that no linter knows: one small function for each, in a module for each service."""

from aws_rules.rules import (
    alarms,
    api,
    events,
    functions,
    mappings,
    names,
    parameters,
    queues,
    quotas,
    references,
    rights,
    versions,
)
from aws_rules.rules.registry import RULES, Broken, Case, Rule

__all__ = [
    "RULES",
    "Broken",
    "Case",
    "Rule",
    "alarms",
    "api",
    "events",
    "functions",
    "mappings",
    "names",
    "parameters",
    "queues",
    "quotas",
    "references",
    "rights",
    "versions",
]
