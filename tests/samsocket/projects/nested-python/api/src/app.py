import os

import boto3

table = boto3.resource("dynamodb").Table(os.environ["TABLE"])


def join(event, context):
    table.put_item(Item={"connectionId": event["requestContext"]["connectionId"]})
    return {"statusCode": 200}


def tell(event, context):
    api = boto3.client("apigatewaymanagementapi")
    for item in table.scan()["Items"]:
        api.post_to_connection(ConnectionId=item["connectionId"], Data=f"told by {table.name}".encode())
    return {"statusCode": 200}
