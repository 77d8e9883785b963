"""From PutEvents to the client on the embedded stack, in milliseconds, compared with a bare chain of two functions.

The bare chain is the least that does the same: a rule sends an event to a function that writes an item, whose stream
sends it to a function that posts it by boto3 to the one connection that the event names. It runs on the same emulator,
through the same gateway, to the same client, in the same run, alternating with the service.
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
from pathlib import Path
from typing import Any

from harness.embedded_stack import embedded_stack
from harness.stack import Client, Stack
from tools import results

EVENTS = 100  # each way
WARM_UP = 10
BUS = TABLE = "bare"
_WITHIN = 30.0

_WRITE = """
import json, os, boto3
client = boto3.client("dynamodb")
def handler(event, context):
    item = {"id": {"S": event["id"]}, "detail": {"S": json.dumps(event["detail"])}}
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
    """Put the bare chain on the emulator, with its handlers' clients made once, as ours are."""
    dynamodb, events = stack.aws("dynamodb"), stack.aws("events")
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
    events.put_rule(Name="bare", EventBusName=BUS, EventPattern=json.dumps({"source": ["bench"]}))
    events.put_targets(Rule="bare", EventBusName=BUS, Targets=[{"Id": "write", "Arn": write}])


def _role(stack: Stack) -> str:
    iam = stack.aws("iam")
    principal = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [principal]})
    role = iam.create_role(RoleName="bare", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    actions = ["dynamodb:*", "execute-api:*", "logs:*"]
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
    """Publish alternately to the service and to the bare chain."""
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

        def bare(number: int) -> None:
            data = {"title": "hello", "body": "there", "number": number}
            message = {"type": "system_notification", "data": data, "timestamp": "2026-01-01T00:00:00.000Z"}
            put(BUS, "bare", {"connection_id": connection_id, "message": message})

        measured: dict[str, list[float]] = {"ours": [], "bare": []}
        for number in range(WARM_UP + EVENTS):
            results.progress(f"event {number + 1} of {WARM_UP + EVENTS}")
            for name, publish in (("ours", ours), ("bare", bare)):
                milliseconds = await timed(client, publish, 2 * number + (name == "bare"))
                if number >= WARM_UP:
                    measured[name].append(milliseconds)
    results.progress()
    return measured


def main() -> None:
    """Measure, print and store the figures."""
    with tempfile.TemporaryDirectory() as folder, embedded_stack(Path(folder), {}) as (state, running):
        stack = Stack(state, running, {})
        deploy(stack)
        measured = asyncio.run(measure(stack))
    figures: dict[str, float] = {}
    print(f"{'PutEvents to client':<26}{'p50 ms':>10}{'p99 ms':>10}")
    for name, each in measured.items():
        parts = statistics.quantiles(each, n=100)
        figures |= {f"{name}_p50_ms": parts[49], f"{name}_p99_ms": parts[98]}
        print(f"{name:<26}{parts[49]:>10.1f}{parts[98]:>10.1f}")
    for part in ("p50", "p99"):
        figures[part] = figures[f"ours_{part}_ms"] / figures[f"bare_{part}_ms"]
    print(f"{'ratio':<26}{figures['p50']:>10.2f}{figures['p99']:>10.2f}")
    results.save("end_to_end", figures)


if __name__ == "__main__":
    main()
