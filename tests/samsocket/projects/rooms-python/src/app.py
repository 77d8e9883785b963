import json
import os

import boto3


def post(domain_name, stage, connection_id, text):
    client = boto3.client("apigatewaymanagementapi", endpoint_url=f"https://{domain_name}/{stage}")
    client.post_to_connection(ConnectionId=connection_id, Data=text.encode())


def connect(event, context):
    token = (event.get("queryStringParameters") or {}).get("token", "good")
    return {"statusCode": 200 if token == "good" else 401, "body": "who are you?"}


def echo(event, context):
    asked = event["requestContext"]
    print("echo of", event["body"])
    post(asked["domainName"], asked["stage"], asked["connectionId"], f"echo: {event['body']}")
    return {"statusCode": 200}


def later(event, context):
    asked = event["requestContext"]
    job = {key: asked[key] for key in ("domainName", "stage", "connectionId")}
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=json.dumps(job))
    return {"statusCode": 200}


def work(event, context):
    for record in event["Records"]:
        job = json.loads(record["body"])
        post(job["domainName"], job["stage"], job["connectionId"], "worked")


def fail(event, context):
    raise ValueError("no such room")
