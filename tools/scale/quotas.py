"""AWS's quotas that bound the service, in one table: the default of a large Region, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

_GUIDE = "docs.aws.amazon.com/"
_SERVICE_QUOTAS = "ask in Service Quotas"


@dataclass(frozen=True)
class Quota:
    """A limit of an account in a Region, unless `per` says otherwise."""

    key: str
    service: str
    name: str
    default: float
    unit: str
    source: str
    raise_by: str
    """How it is raised; empty if it cannot be."""
    burst: float = 0
    per: str = "account and Region"

    @property
    def is_fixed(self) -> bool:
        """Whether nobody can raise it."""
        return not self.raise_by


QUOTAS = {
    quota.key: quota
    for quota in (
        Quota(
            "requests",
            "API Gateway",
            "requests a second, all APIs, `@connections` included",
            10_000,
            "/s",
            f"{_GUIDE}apigateway/latest/developerguide/limits.html (2,500 in smaller Regions)",
            f"{_SERVICE_QUOTAS}: Throttle rate; the burst follows it",
            burst=5_000,
        ),
        Quota(
            "connects",
            "API Gateway",
            "new WebSocket connections a second",
            500,
            "/s",
            f"{_GUIDE}apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html",
            f"{_SERVICE_QUOTAS}: new connections per second",
            burst=500,  # not documented: taken for one second's worth
        ),
        Quota(
            "concurrency",
            "Lambda",
            "concurrent executions",
            1_000,
            "",
            f"{_GUIDE}lambda/latest/dg/gettingstarted-limits.html (10 in a new account)",
            f"{_SERVICE_QUOTAS}: concurrent executions",
        ),
        Quota(
            "starts",
            "Lambda",
            "new execution environments, in 10 s",
            1_000,
            "",
            f"{_GUIDE}lambda/latest/dg/scaling-behavior.html",
            "",
            per="function",
        ),
        Quota(
            "table_writes",
            "DynamoDB",
            "write units a second of a new on-demand table",
            4_000,
            "/s",
            f"{_GUIDE}amazondynamodb/latest/developerguide/on-demand-capacity-mode.html",
            "WarmThroughput of the table, up to 40,000; more: ask in Service Quotas",
            per="table",
        ),
        Quota(
            "table_reads",
            "DynamoDB",
            "read units a second of a new on-demand table",
            12_000,
            "/s",
            f"{_GUIDE}amazondynamodb/latest/developerguide/on-demand-capacity-mode.html",
            "WarmThroughput of the table, up to 40,000; more: ask in Service Quotas",
            per="table",
        ),
        Quota(
            "partition_writes",
            "DynamoDB",
            "write units a second of one partition key",
            1_000,
            "/s",
            f"{_GUIDE}amazondynamodb/latest/developerguide/bp-partition-key-design.html",
            "",
            per="partition key: AudienceShards adds keys",
        ),
        Quota(
            "stream_readers",
            "DynamoDB",
            "readers of a stream's shard",
            2,
            "",
            f"{_GUIDE}amazondynamodb/latest/developerguide/Streams.html",
            "",
            per="shard; broadcast and broadcast-wide are the two",
        ),
        Quota(
            "bus_puts",
            "EventBridge",
            "PutEvents a second (us-east-1; 600 to 10,000 by Region)",
            10_000,
            "/s",
            f"{_GUIDE}eventbridge/latest/userguide/eb-quota.html",
            f"{_SERVICE_QUOTAS}: PutEvents throttle limit",
        ),
        Quota(
            "bus_invocations",
            "EventBridge",
            "deliveries to targets a second (us-east-1; 750 to 18,750 by Region)",
            18_750,
            "/s",
            f"{_GUIDE}eventbridge/latest/userguide/eb-quota.html",
            f"{_SERVICE_QUOTAS}: invocations throttle limit",
        ),
        Quota(
            "bus_targets",
            "EventBridge",
            "buses of cells that one bus reaches: 300 rules with 5 targets each",
            1_500,
            "",
            f"{_GUIDE}eventbridge/latest/userguide/eb-quota.html",
            f"{_SERVICE_QUOTAS}: number of rules",
            per="bus",
        ),
        Quota(
            "in_flight",
            "SQS",
            "messages in flight in a standard queue",
            120_000,
            "",
            f"{_GUIDE}AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html",
            "support case",
            per="queue",
        ),
        Quota(
            "secrets",
            "Secrets Manager",
            "GetSecretValue a second, once a new instance",
            10_000,
            "/s",
            f"{_GUIDE}secretsmanager/latest/userguide/reference_limits.html",
            "",
        ),
        Quota(
            "parameters",
            "Systems Manager",
            "GetParameter a second, once a new instance, if TokenKeys is a parameter",
            40,
            "/s",
            f"{_GUIDE}general/latest/gr/ssm.html",
            "higher throughput, in Parameter Store's settings",
        ),
    )
}


def with_defaults(**values: float) -> dict[str, Quota]:
    """Return the table with other values, such as those of a smaller Region; a burst keeps its proportion."""
    changed = dict(QUOTAS)
    for key, value in values.items():
        old = changed[key]
        changed[key] = replace(old, default=value, burst=old.burst * value / old.default)
    return changed
