import time

import boto3


def lambda_handler(event, context):
    client = boto3.client("apigatewaymanagementapi", endpoint_url=event["url"])
    while True:  # the connection is there once the connect route has answered
        try:
            client.get_connection(ConnectionId=event["connectionId"])
            break
        except client.exceptions.GoneException:
            time.sleep(0.05)
    client.post_to_connection(ConnectionId=event["connectionId"], Data=b"you are connected")
