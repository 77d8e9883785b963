import os

import boto3

table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])


def lambda_handler(event, context):
    asked = event["requestContext"]
    table.put_item(Item={"connectionId": asked["connectionId"], "userId": asked["authorizer"]["userId"]})
    return {"statusCode": 200, "body": "Connected."}
