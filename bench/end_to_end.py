"""From PutEvents to the client on the embedded stack, in milliseconds, compared with bare chains of two functions.

The bare chain is the least that loses no event either: a rule puts an event into a queue, whose function writes an
item, whose stream sends it to a function that posts it by boto3 to the one connection that the event names. In the
direct chain the rule invokes the first function itself, and an event is given up after two more tries in three minutes;
see docs/decisions/0028-a-queue-before-ingest.md. All run on the same emulator, through the same gateway, to the same
client, in the same run, by turns with the service.
"""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from harness.embedded_stack import embedded_stack
from harness.stack import Client, Stack
from tools import results

EVENTS = 100  # each way
WARM_UP = 10
BUS = TABLE = QUEUE = "bare"
CHAINS = ("bare", "direct")  # also the detail types by which their rules choose events
_WITHIN = 30.0

_WRITE = """
import json, os, boto3
client = boto3.client("dynamodb")
def handler(event, context):
    for each in [json.loads(record["body"]) for record in event["Records"]] if "Records" in event else [event]:
        item = {"id": {"S": each["id"]}, "detail": {"S": json.dumps(each["detail"])}}
        client.put_item(TableName=os.environ["TABLE"], Item=item)
    print("written")
"""
_POST = """
import json, os, boto3
client = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["ENDPOINT"])
def handler(event, context):
    for record in event["Records"]:
        detail = json.loads(record["dynamodb"]["NewImage"]["detail"]["S"])
        client.post_to_connection(ConnectionId=detail["connection_id"], Data=json.dumps(detail["message"]).encode())
    print("posted")
"""


def deploy(stack: Stack) -> None:
    """Put the bare chains on the emulator, with their handlers' clients made once, as ours are."""
    dynamodb, events, sqs = stack.aws("dynamodb"), stack.aws("events"), stack.aws("sqs")
    dynamodb.create_table(
        TableName=TABLE,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    role = _role(stack)
    write = _function(stack, "bare-write", _WRITE, role, {"TABLE": TABLE})
    _function(stack, "bare-post", _POST, role, {"ENDPOINT": f"{stack.running.management_url}/notifications"})
    stream = dynamodb.describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
    stack.aws("lambda").create_event_source_mapping(
        EventSourceArn=stream, FunctionName="bare-post", StartingPosition="LATEST", BatchSize=100
    )
    events.create_event_bus(Name=BUS)
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    stack.aws("lambda").create_event_source_mapping(EventSourceArn=queue, FunctionName="bare-write", BatchSize=10)
    for chain, target in zip(CHAINS, (queue, write), strict=True):
        pattern = json.dumps({"source": ["bench"], "detail-type": [chain]})
        events.put_rule(Name=chain, EventBusName=BUS, EventPattern=pattern)
        events.put_targets(Rule=chain, EventBusName=BUS, Targets=[{"Id": "write", "Arn": target}])


def _role(stack: Stack) -> str:
    iam = stack.aws("iam")
    principal = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [principal]})
    role = iam.create_role(RoleName="bare", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    actions = ["dynamodb:*", "execute-api:*", "logs:*", "sqs:*"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_role_policy(RoleName="bare", PolicyName="all", PolicyDocument=json.dumps(policy))
    return str(role)


def _function(stack: Stack, name: str, code: str, role: str, environment: dict[str, str]) -> str:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", code)
    made = stack.aws("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role,
        Handler="index.handler",
        Code={"ZipFile": packed.getvalue()},
        Timeout=10,
        Environment={"Variables": environment},
    )
    return str(made["FunctionArn"])


async def timed(client: Client, publish: Callable[[int], object], number: int) -> float:
    """Publish an event and wait until the client hears it; returns ms."""
    began = time.perf_counter()
    publishing = asyncio.create_task(asyncio.to_thread(publish, number))
    await client.hears(lambda message: message["data"].get("number") == number, _WITHIN)
    milliseconds = (time.perf_counter() - began) * 1000
    await publishing
    return milliseconds


async def measure(stack: Stack) -> dict[str, list[float]]:
    """Publish to the service and to the bare chains by turns."""
    events = stack.aws("events")
    user = stack.new_user()

    def put(bus: str, kind: str, detail: dict[str, Any]) -> None:
        entry = {"EventBusName": bus, "Source": "bench", "DetailType": kind, "Detail": json.dumps(detail)}
        assert not events.put_events(Entries=[entry])["FailedEntryCount"]

    async with stack.connect("notifications", user) as client:
        (connection_id,) = stack.connection_ids(user)

        def ours(number: int) -> None:
            detail = {"title": "hello", "body": "there", "number": number, "delivery": {"to": [user]}}
            put(stack.outputs["BusName"], "system_notification", detail)

        def bare(chain: str, number: int) -> None:
            data = {"title": "hello", "body": "there", "number": number}
            message = {"type": "system_notification", "data": data, "timestamp": "2026-01-01T00:00:00.000Z"}
            put(BUS, chain, {"connection_id": connection_id, "message": message})

        ways: dict[str, Callable[[int], object]] = {"ours": ours, **{chain: partial(bare, chain) for chain in CHAINS}}
        measured: dict[str, list[float]] = {name: [] for name in ways}
        numbers = count()
        for turn in range(WARM_UP + EVENTS):
            results.progress(f"event {turn + 1} of {WARM_UP + EVENTS}")
            for name, publish in ways.items():
                milliseconds = await timed(client, publish, next(numbers))
                if turn >= WARM_UP:
                    measured[name].append(milliseconds)
    results.progress()
    return measured


def main() -> None:
    """Measure, print and store the figures."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        embedded_stack(Path(folder), {}) as (state, running),
    ):
        stack = Stack(state, running, {})
        deploy(stack)
        measured = asyncio.run(measure(stack))
    figures: dict[str, float] = {}
    print(f"{'PutEvents to client':<26}{'p50 ms':>10}{'p99 ms':>10}")
    for name, each in measured.items():
        parts = statistics.quantiles(each, n=100)
        figures |= {f"{name}_p50_ms": parts[49], f"{name}_p99_ms": parts[98]}
        print(f"{name:<26}{parts[49]:>10.1f}{parts[98]:>10.1f}")
    for chain in CHAINS:
        name = f"ours to {chain}"
        p50, p99 = (figures[f"ours_{part}_ms"] / figures[f"{chain}_{part}_ms"] for part in ("p50", "p99"))
        figures |= {"p50": p50, "p99": p99} if chain == "bare" else {f"{chain}_p50": p50, f"{chain}_p99": p99}
        print(f"{name:<26}{p50:>10.2f}{p99:>10.2f}")
    results.save("end_to_end", figures)


if __name__ == "__main__":
    main()
