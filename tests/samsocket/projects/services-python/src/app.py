"""A function that gets what a mapping template makes, and one that posts back what a queue brings."""

import os

import boto3


def mapped(event, context):
    return {"heard": event}


def work(event, context):
    api, region = os.environ["API"], os.environ["AWS_REGION"]
    client = boto3.client(
        "apigatewaymanagementapi", endpoint_url=f"https://{api}.execute-api.{region}.amazonaws.com/api"
    )
    for record in event["Records"]:
        client.post_to_connection(
            ConnectionId=record["messageAttributes"]["connectionId"]["stringValue"],
            Data=f"ordered: {record['body']}".encode(),
        )
