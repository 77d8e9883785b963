import json
import os
import time
import uuid

import boto3

tables = boto3.resource("dynamodb")
connections = tables.Table(os.environ["TABLE_NAME"])
messages = tables.Table(os.environ["MESSAGES_TABLE"])


def lambda_handler(event, context):
    asked = event["requestContext"]
    text = json.loads(event["body"])["message"]
    user = asked["authorizer"]["userId"]
    messages.put_item(Item={"id": str(uuid.uuid4()), "timestamp": int(time.time()), "userId": user, "message": text})
    api = boto3.client("apigatewaymanagementapi", endpoint_url=f"https://{asked['domainName']}/{asked['stage']}")
    stale = []
    for item in connections.scan(ProjectionExpression="connectionId")["Items"]:
        try:
            api.post_to_connection(ConnectionId=item["connectionId"], Data=json.dumps({"sender": user, "message": text}))
        except api.exceptions.GoneException:
            stale.append(item["connectionId"])
    for connection_id in stale:
        connections.delete_item(Key={"connectionId": connection_id})
    print(f"cleaned {len(stale)} stale")
    return {"statusCode": 200, "body": "Message sent."}
