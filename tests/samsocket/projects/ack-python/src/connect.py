import json

import boto3

functions = boto3.client("lambda")


def lambda_handler(event, context):
    asked = event["requestContext"]
    job = {"url": f"https://{asked['domainName']}/{asked['stage']}", "connectionId": asked["connectionId"]}
    functions.invoke(FunctionName="GreetClient", InvocationType="Event", Payload=json.dumps(job))
    return {"statusCode": 200, "body": "no client sees this"}
